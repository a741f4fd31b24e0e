"""``magnetar fetch`` and ``magnetar seed``: the two sides of a swarm."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.shared import Directory, Showing, TargetText, gathers, open_screen, option
from magnetar.cli.options.swarm import Fetching
from magnetar.errors import ExitCode

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.fetch.download.plan import FetchPlan

EXAMPLES = "Examples: magnetar fetch mistral-7b-v0.1 -d /data; magnetar fetch release.torrent --no-dht"


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
    from magnetar.pipeline.fetch import fetch_release, plan_release
    from magnetar.pipeline.target import resolve_target
    from magnetar.render.swarm import draw_fetch_plan, draw_fetched

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
