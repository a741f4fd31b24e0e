"""``magnetar seed``: serve folders to the swarm."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, open_screen
from magnetar.cli.options.groups import flag_groups
from magnetar.cli.options.swarm import SeedFlags
from magnetar.errors import ExitCode

EXAMPLES = "Example: magnetar seed mixtral-8x7b-32kseqlen mixtral-8x22b --upload-limit 20M --seed-time 7d"

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.seed.seed import Seeding


@flag_groups
def seed(
    seeding: SeedFlags,
    display: DisplayFlags,
    folders: Annotated[list[Path], typer.Argument(metavar="PATH...", help="The folders to serve.")],
) -> None:
    """Serve folders, and print the magnet link of each; a release of the catalog has its own. Ctrl-C ends it."""
    from magnetar.pipeline.seed import seed_releases
    from magnetar.render.commands.seed import draw_seeding, draw_served

    screen = open_screen("seed", display)

    def show(served: "Seeding") -> None:
        screen.show(served, draw_seeding, ExitCode.GOOD)

    def work(emit: "Emit") -> None:
        with screen.board(draw_served) as watch:
            seed_releases(folders, seeding.options(), show, watch, emit)

    raise typer.Exit(screen.stay(work))
