"""A torrent whose metadata is here: its bytes, what they say, and where to find its swarm."""

from dataclasses import dataclass

from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.torrent.metadata import Metadata, magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent


@dataclass(frozen=True, slots=True)
class KnownTorrent:
    """A torrent whose metadata is here.

    ``content`` are the bytes of its ``.torrent`` file, and ``metadata`` is what they say. ``magnet`` is the link by
    which it was found, with the trackers and peers to ask; it may name peers that the metadata does not.
    """

    content: bytes
    metadata: Metadata
    magnet: Magnet


def know_torrent(content: bytes) -> KnownTorrent:
    """The torrent of a ``.torrent`` file, with the link that it implies. Raises ``TorrentError``."""
    metadata = read_torrent(content)
    return KnownTorrent(content, metadata, magnet_of(metadata))
