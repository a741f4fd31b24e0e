"""``magnetar fetch``: a release from the swarm onto the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, open_screen
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.shared import ParentFolder, TargetText
from magnetar.cli.options.swarm import FetchFlags
from magnetar.errors import ExitCode

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.fetch.download.fetch_plan import FetchPlan

EXAMPLES = "Examples: magnetar fetch mistral-7b-v0.1 -d /data; magnetar fetch release.torrent --no-dht"


@flag_groups
def fetch(
    fetching: FetchFlags,
    display: DisplayFlags,
    target: TargetText,
    directory: ParentFolder = Path(),
    dry_run: Annotated[
        bool,
        option("--dry-run", help="Show the files, their sizes, the free space and the peers, and write nothing."),
    ] = False,
) -> None:
    """Get a release from the swarm, with every piece checked. Stopped at any moment, it goes on when run again."""
    from magnetar.pipeline.fetch import fetch_release, plan_release
    from magnetar.pipeline.target import identify_target
    from magnetar.render.commands.fetch import draw_fetch_plan, draw_fetched

    options = fetching.options()
    screen = open_screen("fetch", display)

    def plan(emit: "Emit") -> "FetchPlan":
        return plan_release(identify_target(target, proxy=fetching.proxy), directory, options, emit)

    def work(emit: "Emit", when_fetched: "Callable[[Fetched], None]" = lambda _fetched: None) -> "Fetched":
        wanted = identify_target(target, proxy=fetching.proxy)
        return fetch_release(wanted, directory, options, fetching.mirrors, when_fetched, emit)

    def show(fetched: "Fetched") -> None:
        screen.show(fetched, draw_fetched, ExitCode.GOOD)

    if dry_run:
        raise typer.Exit(screen.run(plan, draw_fetch_plan))
    if options.stays:  # the result is shown when everything is here, and not when the seeding ends
        raise typer.Exit(screen.stay(lambda emit: work(emit, show)))
    raise typer.Exit(screen.run(work, draw_fetched))
