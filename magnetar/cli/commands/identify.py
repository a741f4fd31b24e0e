"""``magnetar identify``: which release some weights are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.pipeline.identify import Identity

EXAMPLES = "Examples: magnetar identify weights.gguf; magnetar identify DIR --full"


@flag_groups
def identify(
    display: DisplayFlags,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of weights, or a file, in any layout.")],
    full: Annotated[
        bool, option("--full", help="Read everything, and compare every tensor. Only this proves which release it is.")
    ] = False,
) -> None:
    """Say which release of the catalog some weights are, by content, from a few MB. Exit 8: unknown, or only related.

    With --full, exit 0: every tensor is the release's; exit 5: most of them are.
    """
    from magnetar.pipeline.folder.release_folder import ReleaseFolder
    from magnetar.pipeline.identify import identify as find
    from magnetar.render.commands.identify import draw_identity

    def work(emit: "Emit") -> "Identity":
        return find(ReleaseFolder.read(path), full=full, emit=emit)

    finish("identify", display, work, draw_identity)
