"""``magnetar same``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.shared import Showing, finish, gathers

if TYPE_CHECKING:
    from magnetar.convert.compare.comparison_report import Sameness
    from magnetar.events import Emit

EXAMPLES = "Example: magnetar same mixtral-8x7b-32kseqlen Mixtral-8x7B-v0.1"


@gathers("showing", Showing)
def same(
    showing: Showing,
    first: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint, in any layout.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, in any layout.")],
) -> None:
    """Whether two checkpoints hold the same weights, and which tensors differ, and how. Exit 5: they differ."""
    from magnetar.pipeline.folder.release_folder import ReleaseFolder
    from magnetar.pipeline.same import compare
    from magnetar.render.same import draw_sameness

    def work(emit: "Emit") -> "Sameness":
        return compare(ReleaseFolder.read(first), ReleaseFolder.read(second), emit)

    finish("same", showing, work, draw_sameness)
