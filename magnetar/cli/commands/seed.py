"""``magnetar seed``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.shared import Showing, gathers, open_screen
from magnetar.cli.options.swarm import Serving
from magnetar.errors import ExitCode

EXAMPLES = "Example: magnetar seed mixtral-8x7b-32kseqlen mixtral-8x22b --upload-limit 20M --seed-time 7d"

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.seed.seed import Seeding


@gathers("showing", Showing)
@gathers("serving", Serving)
def seed(
    showing: Showing,
    serving: Serving,
    folders: Annotated[list[Path], typer.Argument(metavar="PATH...", help="The folders to serve.")],
) -> None:
    """Serve folders, and print their magnet links: a release of the catalog under its own. Ctrl-C ends it."""
    from magnetar.pipeline.seed import seed_releases
    from magnetar.render.swarm import draw_seeding, draw_served

    screen = open_screen("seed", showing)

    def listening(seeding: "Seeding") -> None:
        screen.show(seeding, draw_seeding, ExitCode.GOOD)

    def work(emit: "Emit") -> None:
        with screen.board(draw_served) as watch:
            seed_releases(folders, serving.options(), listening, watch, emit)

    raise typer.Exit(screen.stay(work))
