"""``magnetar same``: whether two checkpoints hold the same weights."""

from pathlib import Path
from typing import Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups

EXAMPLES = "Example: magnetar same mixtral-8x7b-32kseqlen Mixtral-8x7B-v0.1"


@flag_groups
def same(
    display: DisplayFlags,
    first: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint: a folder or a file, in any layout.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The checkpoint to compare with it, in any layout.")],
) -> None:
    """Say whether two checkpoints hold the same weights; if not, which tensors differ, and how. Exit 5: they differ."""
    from magnetar.convert.compare.compare_checkpoints import same as compare
    from magnetar.render.same import draw_sameness

    finish("same", display, lambda emit: compare(first, second, emit=emit), draw_sameness)
