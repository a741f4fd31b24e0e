"""``magnetar demo``: the whole way on this machine alone."""

from pathlib import Path
from typing import Annotated

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option

EXAMPLES = "Example: magnetar demo --keep --dir /tmp/magnetar-demo"


@flag_groups
def demo(
    display: DisplayFlags,
    keep: Annotated[bool, option("--keep", help="Do not delete the temporary folder at the end.")] = False,
    directory: Annotated[
        Path | None,
        option("--dir", "-d", file_okay=False, help="Work in this folder and keep it. By default, a temporary one."),
    ] = None,
) -> None:
    """Offline: seed the bundled release on 127.0.0.1, get it by its magnet link, prove it and boot it."""
    from magnetar.pipeline.demo import demonstrate
    from magnetar.render.commands.demo import draw_demo

    finish("demo", display, lambda emit: demonstrate(directory, keep=keep, emit=emit), draw_demo)
