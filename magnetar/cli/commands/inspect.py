"""``magnetar inspect``: what a link, a torrent or a checkpoint says of itself."""

from typing import Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option

EXAMPLES = "Examples: magnetar inspect 'magnet:?xt=...'; magnetar inspect weights.pth --tensors"


@flag_groups
def inspect(
    display: DisplayFlags,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|PATH",
            help="A magnet link, a .torrent file, a name of the catalog, a folder of weights, or a checkpoint file.",
        ),
    ],
    tensors: Annotated[
        bool, option("--tensors", help="List every tensor of a checkpoint: name, dtype, shape and size.")
    ] = False,
) -> None:
    """Show what a link, a torrent or a checkpoint holds, offline: repaired link, files, tensors, parameters."""
    from magnetar.pipeline.inspect import inspect as look
    from magnetar.render.commands.inspect import draw_inspection

    finish("inspect", display, lambda _: look(target, tensors=tensors), draw_inspection)
