"""``magnetar demo``."""

from pathlib import Path
from typing import Annotated

from magnetar.cli.options.shared import Showing, finish, gathers, option

EXAMPLES = "Example: magnetar demo --keep --dir /tmp/magnetar-demo"


@gathers("showing", Showing)
def demo(
    showing: Showing,
    keep: Annotated[bool, option("--keep", help="Leave the folders for a look around.")] = False,
    directory: Annotated[
        Path | None, option("--dir", "-d", help="Work there, not in a temporary folder.", file_okay=False)
    ] = None,
) -> None:
    """Offline: seed the bundled release on 127.0.0.1, get it by its magnet link, prove it and boot it."""
    from magnetar.pipeline.demo import demonstrate
    from magnetar.render.get import draw_demo

    finish("demo", showing, lambda emit: demonstrate(directory, keep=keep, emit=emit), draw_demo)
