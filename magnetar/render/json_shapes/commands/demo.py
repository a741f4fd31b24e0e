"""``magnetar demo --json``: what ``get`` did with the link of a seeder on this machine."""

from typing import Any

from magnetar.render.json_shapes.base import Shape, Text
from magnetar.render.json_shapes.commands.get import Got


class Demonstrated(Shape):
    """The link, what came of it, and the folder of the demonstration; ``kept`` says that it is still there."""

    magnet: Text
    got: Got
    folder: Text
    kept: bool


RESULTS: dict[str, Any] = {"demo": Demonstrated}
