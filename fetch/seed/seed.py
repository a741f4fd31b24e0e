"""Serving releases from their folders, so that others can fetch them by their links."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import MagnetarError, OutsideError, UsageError
from magnetar.events import Emit, Event, FoundWrong, Remarked, Skipped, SwarmSeen, ignore
from magnetar.fetch.download.state_folder import State, read_kept_torrent
from magnetar.fetch.link.magnet import Magnet, join_peers, join_trackers
from magnetar.fetch.request.options import DEFAULT_SEED, SeedOptions, what_others_see
from magnetar.fetch.request.stop_rule import Goal, Stop, never
from magnetar.fetch.seed.find_torrent import LinkOf, find_torrent, unknown
from magnetar.fetch.swarm.discovery import payload_joining
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import Joining, Swarm
from magnetar.fetch.swarm.sightings import LOOK_EVERY, Sightings, is_complete
from magnetar.fetch.torrent.known_torrent import KnownTorrent
from magnetar.fetch.torrent.metadata import Metadata, magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER, hold_folder
from magnetar.findings import Finding

WATCH_EVERY = 1.0
"""Seconds between two calls of ``watch``."""


@dataclass(frozen=True, slots=True)
class Seeding:
    """A release that is being served: its link, and the TCP port where peers reach it."""

    magnet: Magnet
    port: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Seeded:
    """What came of a seeding: bytes of payload that were sent, in how many seconds."""

    metadata: Metadata
    uploaded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Served:
    """Where one of several seedings stands: bytes of payload sent so far, and connected peers.

    ``ended`` says that it has reached its ratio or its time, and has left its swarm.
    """

    folder: Path
    metadata: Metadata
    uploaded: int
    peers: int
    seconds: float
    ended: bool


Watch = Callable[[tuple[Served, ...]], None]
"""Is told where all seedings stand."""
TorrentOf = Callable[[Path], bytes]
"""The ``.torrent`` bytes that a folder remembers; empty if it remembers none."""


def _ignore_served(_served: tuple[Served, ...]) -> None: ...


def seed(
    folder: Path,
    *,
    options: SeedOptions = DEFAULT_SEED,
    listening: Callable[[Seeding], None],
    stop: Stop = never,
    emit: Emit = ignore,
) -> Seeded:
    """Serve ``folder`` until ``stop()`` is true, or the options' ratio or time is reached.

    A folder that was fetched or published before keeps its torrent, so that its swarm is not split. Otherwise it is
    served as one of ``options.torrents``, if it has the bytes of one, or as a new torrent. Every piece is checked
    before the first is served; then ``listening`` is called once. ``stop`` is asked about four times a second.

    Raises ``UsageError`` for what is not a folder with files, ``WrongBytesError`` if files are no longer those of the
    torrent, ``OutsideError`` if the session cannot listen, ``FolderLocked``. A ``KeyboardInterrupt`` passes through.
    """
    return seed_all([folder], options=options, listening=listening, stop=stop, emit=emit)[0]


def seed_all(
    folders: Sequence[Path],
    *,
    options: SeedOptions = DEFAULT_SEED,
    listening: Callable[[Seeding], None],
    link_of: LinkOf = unknown,
    kept_torrent_of: TorrentOf = read_kept_torrent,
    watch: Watch = _ignore_served,
    stop: Stop = never,
    emit: Emit = ignore,
) -> tuple[Seeded, ...]:
    """Serve several folders in one session, each as ``seed`` does, as soon as its pieces were checked.

    ``listening`` is called for each folder, and ``watch`` about once a second with where all of them stand. A folder
    that cannot be served is told as ``FoundWrong`` and left out. If none can be served, the first error is raised.

    A folder that ``link_of`` knows is served under that infohash. If its torrent is not at hand, its swarm is asked for
    the metadata. Raises ``MetadataTimeout`` if nobody sends it, unless the options ask for a new torrent.
    ``kept_torrent_of`` says what a folder remembers, for a caller who has read that already.
    """
    if not folders:
        raise UsageError("there is nothing to serve", hint="name a folder")
    if not any(map(_holds_files, folders)):
        _require_files(folders[0])  # before anybody outside is told that we are here
    with ExitStack() as stack:
        swarm = _open(stack, options, emit)
        serving: list[_Serving] = []
        errors: list[MagnetarError] = []
        for folder in folders:
            try:
                _require_files(folder)
                kept = kept_torrent_of(folder)
                serving.append(_begin(stack, swarm, folder, kept, options, link_of, emit))
            except MagnetarError as error:
                errors.append(error)
                if len(folders) > 1:
                    emit(FoundWrong(Finding("not-served", str(folder), error.message)))
            else:
                listening(serving[-1].seeding)
        if not serving:
            raise errors[0]
        _serve(swarm, serving, watch, stop, emit)
    return tuple(release.result() for release in serving)


class _Serving:
    """One release in the session, from its join until its goal is reached."""

    def __init__(self, folder: Path, seeding: Seeding, swarm: Swarm, joining: Joining, goal: Goal, emit: Emit) -> None:
        self.seeding = seeding
        self.folder = folder
        self._goal = goal
        self._began = time.monotonic()
        self._ended = 0.0
        self._transfer = swarm.join(joining)
        # SwarmSeen is emitted once for all releases, by ``_serve``.
        self._sightings = Sightings(
            swarm, self._transfer, lambda event: None if isinstance(event, SwarmSeen) else emit(event)
        )
        self.status = self._sightings.wait_until(is_complete)

    @property
    def ended(self) -> bool:
        return bool(self._ended)

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._began

    def look(self) -> None:
        """See what was sent, and leave the swarm once it is enough, or when the disk fails. Raises the disk's error."""
        if self.ended:
            return
        try:
            self.status = self._sightings.look()
        except OutsideError:
            self._leave()
            raise
        if self._goal.is_reached(self.status.uploaded, self.seeding.metadata.total_size, self.seconds):
            self._leave()

    def _leave(self) -> None:
        self._ended = time.monotonic()
        self._transfer.leave()

    def served(self) -> Served:
        peers = 0 if self.ended else self.status.peers
        return Served(self.folder, self.seeding.metadata, self.status.uploaded, peers, self.seconds, self.ended)

    def result(self) -> Seeded:
        return Seeded(self.seeding.metadata, self.status.uploaded, self.seconds)


def _open(stack: ExitStack, options: SeedOptions, emit: Emit) -> Swarm:
    for note in what_others_see(options):
        emit(Remarked(note))
    return stack.enter_context(open_swarm(options.network))


def _begin(
    stack: ExitStack,
    swarm: Swarm,
    folder: Path,
    kept: bytes,
    options: SeedOptions,
    link_of: LinkOf,
    emit: Emit,
) -> _Serving:
    """Prove every piece of a folder, and join its swarm. Holds the folder as long as the stack lasts."""
    with ExitStack() as held:
        writable = held.enter_context(hold_folder(folder))
        if not writable:
            reason = f"{folder} cannot be written to, so its torrent is found or made anew each time"
            emit(Skipped("keeping the torrent", reason))
        content, resume = find_torrent(swarm, folder, kept, options, link_of, emit)
        metadata = read_torrent(content)
        if writable:
            State(folder, metadata).keep_torrent(content, complete=True)
        magnet = join_trackers(magnet_of(metadata), options.trackers)
        joining = payload_joining(folder, KnownTorrent(content, metadata, magnet), options, resume)
        seeding = Seeding(_link_to_share(magnet, swarm.port, options), swarm.port, metadata)
        goal = Goal(options.seed_ratio, options.seed_time)
        serving = _Serving(folder, seeding, swarm, replace(joining, trusted=True), goal, emit)
        stack.enter_context(held.pop_all())
    return serving


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != STATE_FOLDER for path in folder.iterdir())


def _require_files(folder: Path) -> None:
    if not _holds_files(folder):
        raise UsageError(f"{folder}: is not a folder with files", hint="name the folder that holds the release's files")


def _serve(swarm: Swarm, serving: Sequence[_Serving], watch: Watch, stop: Stop, emit: Emit) -> None:
    """Look at all releases until stopped, or until all have reached their goals."""
    emitted: Event | None = None
    watch_at = 0.0
    while not (stop() or all(release.ended for release in serving)):
        swarm.wait(LOOK_EVERY)
        _look_at_all(serving, emit)
        seen = _sum_up(swarm, serving)
        if seen != emitted:
            emit(seen)
            emitted = seen
        if time.monotonic() >= watch_at:
            watch(tuple(release.served() for release in serving))
            watch_at = time.monotonic() + WATCH_EVERY
    swarm.wait(LOOK_EVERY)  # what was just sent is counted on the session's next tick
    _look_at_all(serving, emit)


def _look_at_all(serving: Sequence[_Serving], emit: Emit) -> None:
    """Look at each release. What the disk did to one is told; only if it is the only one, it is raised."""
    for release in serving:
        try:
            release.look()
        except OutsideError as error:
            if len(serving) == 1:
                raise
            emit(FoundWrong(Finding("not-served", str(release.folder), error.message)))


def _sum_up(swarm: Swarm, serving: Sequence[_Serving]) -> SwarmSeen:
    present = [release.status for release in serving if not release.ended]
    return SwarmSeen(
        peers=sum(status.peers for status in present),
        seeds=sum(status.seeds for status in present),
        dht_nodes=swarm.dht_nodes,
        uploaded=sum(release.status.uploaded for release in serving),
    )


def _link_to_share(magnet: Magnet, port: int, options: SeedOptions) -> Magnet:
    """The link to hand out. On loopback it carries our own address, since nobody else could tell it."""
    return join_peers(magnet, [("127.0.0.1", port)]) if options.loopback else magnet
