"""What a fetch would do, found out without writing anything."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.events import Emit, ignore
from magnetar.fetch.download.disk_checks import check_destination, check_folder, check_space, free_bytes, missing_bytes
from magnetar.fetch.download.resolve_target import ResolvedTarget, resolve_target
from magnetar.fetch.download.state_folder import check_unclaimed
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.target import Target
from magnetar.fetch.swarm.discovery import reachable
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.swarm.protocol import Joining, Swarm
from magnetar.fetch.swarm.sightings import Sightings
from magnetar.fetch.torrent.metadata import Metadata, TorrentFile, magnet_of

LOOKOUT = 4.0
"""Seconds in which the swarm is watched, to see who is there."""


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch into ``folder`` would bring. Sizes are in bytes.

    ``missing`` is the disk space that it would take: bytes of wanted files that are not on disk. What is on disk was
    not checked. ``free`` is what the disk has. ``peers`` and ``seeds`` are the largest numbers that were connected
    within a few seconds; ``seen`` says in words what was seen of the swarm. ``obstacles`` are the reasons why a fetch
    would be refused. ``healed`` is what had to be mended in the link.
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
    target: Target, parent: Path, *, options: FetchOptions = DEFAULT_FETCH, emit: Emit = ignore
) -> FetchPlan:
    """What ``fetch`` with the same arguments would do. Joins the swarm for metadata and a look at the peers, no more.

    Raises ``MagnetError``, ``TorrentError``, ``MetadataTimeout``, and ``UsageError`` if no file is selected.
    """
    with ExitStack() as stack:
        swarm = LazySwarm(stack, replace(options, upload=False), emit)
        release = resolve_target(target, parent, swarm, options, emit)
        metadata = release.torrent.metadata
        magnet = reachable(release.torrent.magnet, options, private=metadata.private)
        sightings = _watch_swarm(swarm.open(), magnet, parent, emit)
    return FetchPlan(
        folder=release.folder,
        metadata=metadata,
        wanted=release.wanted.files,
        left_out=tuple(sorted(release.left_out)),
        missing=missing_bytes(release.folder, release.wanted),
        free=free_bytes(release.folder),
        peers=sightings.most_peers,
        seeds=sightings.most_seeds,
        seen=sightings.summary(),
        obstacles=_find_obstacles(release),
        healed=release.torrent.magnet.healed,
    )


def _watch_swarm(swarm: Swarm, magnet: Magnet, parent: Path, emit: Emit) -> Sightings:
    """Join without the file list, so that no payload is asked for, and see who is there."""
    swarm.keep_peers()
    transfer = swarm.join(Joining(parent, magnet))
    sightings = Sightings(swarm, transfer, emit)
    end = time.monotonic() + LOOKOUT
    sightings.wait_until(lambda _status: time.monotonic() >= end)
    transfer.leave()
    return sightings


def _find_obstacles(release: ResolvedTarget) -> tuple[str, ...]:
    """What a fetch would be refused for: the checks that it makes before it writes."""
    folder, metadata = release.folder, release.torrent.metadata
    checks: tuple[Callable[[], None], ...] = (
        lambda: check_folder(folder),
        lambda: check_unclaimed(folder, magnet_of(metadata)),
        lambda: check_destination(folder, metadata),
        lambda: check_space(folder, release.wanted),
    )
    found = []
    for check in checks:
        try:
            check()
        except (DiskError, NoSpace, UsageError) as error:
            found.append(error.message)
    return tuple(found)
