"""What a fetch would do, found out without writing anything."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.events import Emit, LinkHealed, Remarked, ignore
from magnetar.fetch.download.disk_checks import check_destination, check_folder, check_space, free_bytes, missing_bytes
from magnetar.fetch.download.state_folder import check_unclaimed, find_release, kept_torrent
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions, what_others_see
from magnetar.fetch.request.selection import left_out, narrow
from magnetar.fetch.request.target import read_target
from magnetar.fetch.swarm.discovery import LOOK_EVERY, Sightings, find_metadata, reachable
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import Joining, Swarm
from magnetar.fetch.torrent.metadata import Metadata, TorrentFile, check_same, magnet_of
from magnetar.fetch.torrent.metainfo import check_info, read_torrent

LOOKOUT = 4.0  # seconds to see who is there


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch into ``folder`` would bring. Sizes are in bytes.

    ``missing`` is what disk space it would take: bytes of wanted files that are not on disk. What is on disk was not
    checked. ``free`` is what the disk has. ``peers`` and ``seeds`` were connected within a few seconds; ``seen`` says
    in words what was seen of the swarm. ``obstacles`` are reasons why a fetch would be refused.
    """

    folder: Path
    metadata: Metadata
    wanted: tuple[TorrentFile, ...]
    left_out: tuple[str, ...]
    missing: int
    free: int
    peers: int
    seeds: int
    seen: str
    obstacles: tuple[str, ...]
    healed: tuple[str, ...]

    @property
    def wanted_size(self) -> int:
        """Bytes of the wanted files."""
        return sum(file.size for file in self.wanted)


def plan_fetch(
    target: Magnet | Path | bytes, parent: Path, *, options: FetchOptions = DEFAULT_FETCH, emit: Emit = ignore
) -> FetchPlan:
    """What ``fetch`` with the same arguments would do. Joins the swarm for metadata and a look at the peers, no more.

    Raises ``TorrentError``, ``MetadataTimeout``, and ``UsageError`` if no file is selected.
    """
    magnet, torrent = read_target(target)
    for repair in magnet.healed:
        emit(LinkHealed(repair))
    for note in what_others_see(options):
        emit(Remarked(note))
    with ExitStack() as stack:
        swarm = stack.enter_context(open_swarm(replace(options.network, upload=False)))
        kept = find_release(parent, magnet)
        torrent = torrent or (kept_torrent(kept, magnet) if kept else b"")
        if not torrent:
            torrent, magnet = find_metadata(swarm, magnet, parent, options, emit)
        metadata = read_torrent(torrent)
        check_same(metadata, magnet)
        if options.info_digest:
            check_info(torrent, options.info_digest)
        sightings = _look_out(swarm, reachable(magnet, options, private=metadata.private), parent, emit)
    wanted = narrow(metadata, options.include, options.exclude)
    folder = kept or parent / metadata.name
    return FetchPlan(
        folder=folder,
        metadata=metadata,
        wanted=wanted.files,
        left_out=tuple(sorted(left_out(metadata, wanted))),
        missing=missing_bytes(folder, wanted),
        free=free_bytes(folder),
        peers=sightings.most_peers,
        seeds=sightings.most_seeds,
        seen=sightings.summary(),
        obstacles=_obstacles(folder, metadata, wanted),
        healed=magnet.healed,
    )


def _look_out(swarm: Swarm, magnet: Magnet, parent: Path, emit: Emit) -> Sightings:
    """Join without the file list, so that nothing is asked for, and see who is there."""
    swarm.keep_peers()
    transfer = swarm.join(Joining(parent, magnet))
    sightings = Sightings(swarm, emit)
    until = time.monotonic() + LOOKOUT
    while time.monotonic() < until:
        sightings.look(transfer)
        swarm.wait(LOOK_EVERY)
    sightings.look(transfer)
    transfer.leave()
    return sightings


def _obstacles(folder: Path, metadata: Metadata, wanted: Metadata) -> tuple[str, ...]:
    found = []
    checks: tuple[Callable[[], None], ...] = (
        lambda: check_folder(folder),
        lambda: check_unclaimed(folder, magnet_of(metadata)),
        lambda: check_destination(folder, metadata),
        lambda: check_space(folder, wanted),
    )
    for check in checks:
        try:
            check()
        except (DiskError, NoSpace, UsageError) as error:
            found.append(error.message)
    return tuple(found)
