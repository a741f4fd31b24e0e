"""``magnetar seed --json``: one object for each folder, a line each, as soon as it is served."""

from typing import Any

from pydantic import Field

from magnetar.render.json_shapes.base import Printed, Shape
from magnetar.render.json_shapes.commands.fetch import Torrent


class Seeding(Shape):
    """A folder that is being served: its magnet link, and the TCP port where peers reach this process."""

    magnet: Printed
    port: int
    torrent: Torrent = Field(validation_alias="metadata")


RESULTS: dict[str, Any] = {"seed": Seeding}
