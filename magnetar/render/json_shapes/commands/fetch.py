"""``magnetar fetch --json``: what was fetched, or with ``--dry-run`` what would be."""

from typing import Any, Literal

from pydantic import Field

from magnetar.render.json_shapes.base import Shape, Text


class TorrentFile(Shape):
    """A file of the torrent. ``path`` is relative to the release's folder, ``size`` in bytes."""

    path: Text
    size: int


class Torrent(Shape):
    """What the torrent's metadata says. An infohash that the torrent does not have is empty. Lengths are in bytes."""

    name: Text
    infohash_v1: Text
    infohash_v2: Text
    piece_length: int
    piece_count: int
    files: list[TorrentFile]
    trackers: list[Text]
    web_seeds: list[Text]
    private: bool


class Fetched(Shape):
    """A release that is on the disk.

    ``downloaded`` and ``uploaded`` are bytes of payload of this run, ``seconds`` its duration. ``complete`` says that
    every piece of every wanted file was checked. ``left_out`` are files that were not wanted. ``healed`` says what was
    repaired in the magnet link.
    """

    kind: Literal["fetched"] = "fetched"
    folder: Text
    torrent: Torrent = Field(validation_alias="metadata")
    downloaded: int
    uploaded: int
    seconds: float
    complete: bool
    healed: list[Text]
    left_out: list[Text]


class FetchPlan(Shape):
    """What a fetch would bring. Nothing was written.

    ``missing`` are the bytes of wanted files that are not on the disk, ``free`` what the disk has. ``peers`` and
    ``seeds`` were connected within a few seconds, and ``seen`` says that in words. ``obstacles`` are the reasons why
    this fetch would be refused.
    """

    kind: Literal["plan"] = "plan"
    folder: Text
    torrent: Torrent = Field(validation_alias="metadata")
    wanted: list[TorrentFile]
    left_out: list[Text]
    missing: int
    free: int
    peers: int
    seeds: int
    seen: Text
    obstacles: list[Text]
    healed: list[Text]


RESULTS: dict[str, Any] = {"fetch": FetchPlan | Fetched}
