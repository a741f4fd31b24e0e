"""``magnetar same``."""

from pathlib import Path
from typing import Annotated

import typer

from magnetar.cli.options.shared import Showing, finish, gathers

EXAMPLES = "Example: magnetar same mixtral-8x7b-32kseqlen Mixtral-8x7B-v0.1"


@gathers("showing", Showing)
def same(
    showing: Showing,
    first: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint, in any layout.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, in any layout.")],
) -> None:
    """Whether two checkpoints hold the same weights, and which tensors differ, and how. Exit 5: they differ."""
    from magnetar.convert.compare.compare_checkpoints import same as compare
    from magnetar.render.same import draw_sameness

    finish("same", showing, lambda emit: compare(first, second, emit=emit), draw_sameness)
