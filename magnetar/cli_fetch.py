"""``magnetar fetch`` and ``magnetar seed``: the two sides of a swarm."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli_options import Directory, Showing, TargetText, gathers, open_screen, option
from magnetar.cli_swarm import Fetching, Serving
from magnetar.errors import ExitCode

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.download import Fetched
    from magnetar.fetch.plan import FetchPlan
    from magnetar.fetch.seed import Seeding

EXAMPLES = {
    "fetch": "Examples: magnetar fetch mistral-7b-v0.1 -d /data; magnetar fetch release.torrent --no-dht",
    "seed": "Example: magnetar seed mixtral-8x7b-32kseqlen mixtral-8x22b --upload-limit 20M --seed-time 7d",
}


@gathers("showing", Showing)
@gathers("fetching", Fetching)
def fetch(
    showing: Showing,
    fetching: Fetching,
    target: TargetText,
    directory: Directory = Path(),
    dry_run: Annotated[
        bool, option("--dry-run", help="Show files, sizes, space and peers, and write nothing.")
    ] = False,
) -> None:
    """Get a release from the swarm. Done means that every piece was checked; stopped at any moment, it resumes."""
    from magnetar.pipeline_fetch import fetch_release, plan_release, resolve_target
    from magnetar.render_swarm import draw_fetch_plan, draw_fetched

    options = fetching.options()
    screen = open_screen("fetch", showing)

    def work(emit: "Emit", finished: "Callable[[Fetched], None]" = lambda _fetched: None) -> "Fetched":
        wanted = resolve_target(target, proxy=fetching.proxy)
        return fetch_release(wanted, directory, options, fetching.mirrors, finished, emit)

    def look(emit: "Emit") -> "FetchPlan":
        return plan_release(resolve_target(target, proxy=fetching.proxy), directory, options, emit)

    def arrived(fetched: "Fetched") -> None:
        screen.show(fetched, draw_fetched, ExitCode.GOOD)

    if dry_run:
        raise typer.Exit(screen.run(look, draw_fetch_plan))
    if options.stays:
        raise typer.Exit(screen.stay(lambda emit: work(emit, arrived)))
    raise typer.Exit(screen.run(work, draw_fetched))


@gathers("showing", Showing)
@gathers("serving", Serving)
def seed(
    showing: Showing,
    serving: Serving,
    folders: Annotated[list[Path], typer.Argument(metavar="PATH...", help="The folders to serve.")],
) -> None:
    """Serve folders, and print their magnet links: a release of the catalog under its own. Ctrl-C ends it."""
    from magnetar.pipeline_seed import seed_releases
    from magnetar.render_swarm import draw_seeding, draw_served

    screen = open_screen("seed", showing)

    def listening(seeding: "Seeding") -> None:
        screen.show(seeding, draw_seeding, ExitCode.GOOD)

    def work(emit: "Emit") -> None:
        with screen.board(draw_served) as watch:
            seed_releases(folders, serving.options(), listening, watch, emit)

    raise typer.Exit(screen.stay(work))
