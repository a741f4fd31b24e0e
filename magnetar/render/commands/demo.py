"""What the demonstration did."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from magnetar.render.commands.get import conclude, draw_steps_and_faults
from magnetar.render.text import Hanging, clean

if TYPE_CHECKING:
    from magnetar.pipeline.demo import Demonstrated


def draw_demo(done: "Demonstrated") -> RenderableType:
    """The whole path, from the link to the verdict."""
    link = Hanging.assemble(("magnet link  ", "dim"), clean(done.magnet), no_wrap=True, overflow="ellipsis")
    where = f"left in {done.folder}" if done.kept else "the folders are gone again; --keep leaves them"
    return Group(link, Text(""), draw_steps_and_faults(done.got), conclude(done.got, where))
