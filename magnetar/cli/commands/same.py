"""``magnetar same``: whether two checkpoints hold the same tensors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups

if TYPE_CHECKING:
    from magnetar.convert.compare.comparison_report import Sameness
    from magnetar.events import Emit

EXAMPLES = "Example: magnetar same mixtral-8x7b-32kseqlen Mixtral-8x7B-v0.1"


@flag_groups
def same(
    display: DisplayFlags,
    first: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint: a folder or a file, in any layout.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The checkpoint to compare with it, in any layout.")],
) -> None:
    """Say whether two checkpoints hold the same tensors; if not, which differ, and how. Exit 5: they differ."""
    from magnetar.pipeline.folder.release_folder import ReleaseFolder
    from magnetar.pipeline.same import compare
    from magnetar.render.commands.same import draw_sameness

    def work(emit: "Emit") -> "Sameness":
        return compare(ReleaseFolder.read(first), ReleaseFolder.read(second), emit)

    finish("same", display, work, draw_sameness)
