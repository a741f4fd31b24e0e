"""From what was asked for to a torrent whose metadata is here, and the folder that it goes to.

The opening that downloads, plans and repairs have in common.
"""

from dataclasses import dataclass
from pathlib import Path

from magnetar.events import Emit, LinkHealed
from magnetar.fetch.download.state_folder import find_release, matching_torrent, read_kept_torrent
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.request.selection import left_out, narrow
from magnetar.fetch.request.target import Target, read_target
from magnetar.fetch.swarm.discovery import find_metadata
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.torrent.known_torrent import KnownTorrent
from magnetar.fetch.torrent.metadata import Metadata, check_same
from magnetar.fetch.torrent.metainfo import check_info, read_torrent


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """What a download is of, and where it goes.

    ``wanted`` is the torrent's metadata with only the files that the options select; ``left_out`` are the paths of the
    other files. ``folder`` may hold some of the release already, or may not exist yet.
    """

    torrent: KnownTorrent
    folder: Path
    wanted: Metadata
    left_out: frozenset[str]


def resolve_target(target: Target, parent: Path, swarm: LazySwarm, options: FetchOptions, emit: Emit) -> ResolvedTarget:
    """Find out what ``target`` names, and which folder below ``parent`` is or will be its own.

    Raises ``MagnetError``, ``TorrentError``, ``MetadataTimeout``, and ``UsageError`` if no file is selected.
    """
    magnet, content = read_target(target)
    kept = find_release(parent, magnet)
    content = content or (matching_torrent(read_kept_torrent(kept), magnet) if kept else b"")
    torrent = resolve_torrent(magnet, content, parent, swarm, options, emit)
    wanted = narrow(torrent.metadata, options.include, options.exclude)
    folder = kept or parent / torrent.metadata.name
    return ResolvedTarget(torrent, folder, wanted, left_out(torrent.metadata, wanted))


def resolve_torrent(
    magnet: Magnet, content: bytes, parent: Path, swarm: LazySwarm, options: FetchOptions, emit: Emit
) -> KnownTorrent:
    """The torrent that the link names. ``content`` are its ``.torrent`` bytes; if empty, the swarm is asked for them.

    Raises ``TorrentError`` if they are unsafe, of another torrent, or not those that ``options.info_digest`` pins, and
    ``MetadataTimeout``.
    """
    for repair in magnet.healed:
        emit(LinkHealed(repair))
    if not content:
        content, magnet = find_metadata(swarm.open(), magnet, parent, options, emit)
    metadata = read_torrent(content)
    check_same(metadata, magnet)
    if options.info_digest:
        check_info(content, options.info_digest)
    return KnownTorrent(content, metadata, magnet)
