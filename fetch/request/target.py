"""What a fetch is asked for: a link, or a torrent."""

from pathlib import Path

from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent, read_torrent_file

Target = Magnet | Path | bytes
"""A magnet link, the path of a ``.torrent`` file, or its bytes."""


def read_target(target: Target) -> tuple[Magnet, bytes]:
    """The link that a target is or amounts to, and the ``.torrent`` bytes if it has them.

    Raises ``TorrentError``, ``UsageError`` or ``DiskError``.
    """
    if isinstance(target, Magnet):
        return target, b""
    content = target if isinstance(target, bytes) else read_torrent_file(target)
    return magnet_of(read_torrent(content)), content
