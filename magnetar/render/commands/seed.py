"""What is being seeded: its magnet link, and how much was sent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.filesize import decimal

from magnetar.render.text import clock, foreign, new_table

if TYPE_CHECKING:
    from magnetar.fetch.seed.seed import Seeding, Served


def draw_seeding(seeding: "Seeding") -> RenderableType:
    """The link, alone on its line so that it can be copied or piped."""
    return foreign(seeding.magnet, no_wrap=True, overflow="ignore")


def draw_served(served: Sequence["Served"]) -> RenderableType:
    """One row for each release that is being seeded."""
    table = new_table("release", ">peers", ">sent", ">ratio", ">time")
    for release in served:
        ratio = release.uploaded / max(release.metadata.total_size, 1)
        table.add_row(
            foreign(release.metadata.name),
            str(release.peers),
            decimal(release.uploaded),
            f"{ratio:.2f}",
            clock(release.seconds),
        )
    return table
