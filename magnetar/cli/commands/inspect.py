"""``magnetar inspect``."""

from typing import Annotated

import typer

from magnetar.cli.options.shared import Showing, finish, gathers, option

EXAMPLES = "Examples: magnetar inspect 'magnet:?xt=...'; magnetar inspect weights.pth --tensors"


@gathers("showing", Showing)
def inspect(
    showing: Showing,
    target: Annotated[str, typer.Argument(metavar="TARGET|PATH", help="A link, a .torrent, a name, or weights.")],
    tensors: Annotated[bool, option("--tensors", help="List every tensor.")] = False,
) -> None:
    """Look without fetching or running: trackers after healing, files and sizes, tensors, layout, parameters."""
    from magnetar.pipeline.inspect import inspect as look
    from magnetar.render.inspect import draw_inspection

    finish("inspect", showing, lambda _: look(target, tensors=tensors), draw_inspection)
