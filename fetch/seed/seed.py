"""Serving releases from their folders, so that others can fetch them by their links."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import MagnetarError, OutsideError, UsageError
from magnetar.events import Emit, Event, FoundWrong, Remarked, SwarmSeen, ignore
from magnetar.fetch.download.state_folder import State
from magnetar.fetch.link.magnet import Magnet, join_peers, join_trackers
from magnetar.fetch.request.options import DEFAULT_SEED, SeedOptions, what_others_see
from magnetar.fetch.request.stop_rule import Goal, Stop, never
from magnetar.fetch.seed.find_torrent import LinkOf, find_torrent, unknown
from magnetar.fetch.swarm.discovery import LOOK_EVERY, Sightings, reachable
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import Joining, Status, Swarm
from magnetar.fetch.torrent.metadata import Metadata, magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER, hold_folder
from magnetar.findings import Finding

TELL_EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Seeding:
    """A release that is being served: its link, and the TCP port where peers reach it."""

    magnet: Magnet
    port: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Seeded:
    """What came of a seeding: payload bytes sent, and seconds."""

    metadata: Metadata
    uploaded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Served:
    """Where one of several seedings stands: payload bytes sent so far, and peers that are connected.

    ``ended`` says that it has reached its ratio or time, and has left its swarm.
    """

    folder: Path
    metadata: Metadata
    uploaded: int
    peers: int
    seconds: float
    ended: bool


Watch = Callable[[tuple[Served, ...]], None]


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

    A folder that was fetched or published before keeps its torrent, so that its swarm is not split; else it is one of
    ``options.torrents`` whose bytes it has; else one is made. Every piece is checked before the first is served, then
    ``listening`` is called once. ``stop`` is asked about four times a second.

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
    watch: Watch = _ignore_served,
    stop: Stop = never,
    emit: Emit = ignore,
) -> tuple[Seeded, ...]:
    """Serve several folders in one session, each as ``seed`` does, from when its pieces were checked.

    ``listening`` is called for each; ``watch`` about once a second with where all of them stand. A folder that cannot
    be served is told as ``FoundWrong`` and left out; if it is the last, what was wrong with the first is raised.

    A folder that ``link_of`` knows is served under that infohash: if no torrent of it is at hand, its metadata is asked
    of the swarm. Raises ``MetadataTimeout`` if none comes, unless the options want a new torrent.
    """
    wrong: list[MagnetarError] = []
    serving: list[_Serving] = []
    if folders and not any(map(_holds_files, folders)):
        raise _no_files(folders[0])  # before anybody outside is told that we are here
    with ExitStack() as stack:
        swarm = _open(stack, options, emit)
        for folder in folders:
            try:
                serving.append(_begin(stack, swarm, folder, options, link_of, emit))
            except MagnetarError as error:
                wrong.append(error)
                if len(folders) > 1:
                    emit(FoundWrong(Finding("not-served", str(folder), error.message)))
            else:
                listening(serving[-1].seeding)
        if not serving:
            raise wrong[0] if wrong else UsageError("there is nothing to serve", hint="name a folder")
        _serve(swarm, serving, watch, stop, emit)
    return tuple(each.result() for each in serving)


class _Serving:
    """One release in the session, from its join until its goal."""

    def __init__(self, folder: Path, seeding: Seeding, swarm: Swarm, joining: Joining, goal: Goal, emit: Emit) -> None:
        self.seeding = seeding
        self.folder = folder
        self._goal = goal
        self._began = time.monotonic()
        self._ended = 0.0
        self._transfer = swarm.join(joining)
        # Who is there is told once for all releases.
        self._sightings = Sightings(swarm, lambda event: None if isinstance(event, SwarmSeen) else emit(event))
        while (status := self._sightings.look(self._transfer)).phase != "complete":
            swarm.wait(LOOK_EVERY)
        self.status: Status = status

    @property
    def ended(self) -> bool:
        return bool(self._ended)

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._began

    def look(self) -> None:
        """See what was sent, and leave once it is enough. Raises what the disk refused, and has left then too."""
        if self.ended:
            return
        try:
            self.status = self._sightings.look(self._transfer)
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


def _begin(stack: ExitStack, swarm: Swarm, folder: Path, options: SeedOptions, link_of: LinkOf, emit: Emit) -> _Serving:
    """Prove every piece of a folder, and join its swarm. Holds the folder as long as the stack lasts."""
    if not _holds_files(folder):
        raise _no_files(folder)
    with ExitStack() as held:
        writable = held.enter_context(hold_folder(folder))
        if not writable:
            emit(Remarked(f"{folder} cannot be written to: the torrent is made anew each time"))
        torrent, resume = find_torrent(swarm, folder, options, link_of, emit)
        metadata = read_torrent(torrent)
        if writable:
            State(folder, metadata).keep_torrent(torrent, complete=True)
        magnet = join_trackers(magnet_of(metadata), options.trackers)
        joining = Joining(
            folder,
            reachable(magnet, options, private=metadata.private),
            torrent,
            resume,
            trusted=True,
            upload_limit=options.upload_limit,
        )
        seeding = Seeding(_link(magnet, swarm.port, options), swarm.port, metadata)
        serving = _Serving(folder, seeding, swarm, joining, Goal(options.seed_ratio, options.seed_time), emit)
        stack.enter_context(held.pop_all())
    return serving


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != STATE_FOLDER for path in folder.iterdir())


def _no_files(folder: Path) -> UsageError:
    return UsageError(f"{folder}: is not a folder with files", hint="name the folder that holds the release's files")


def _serve(swarm: Swarm, serving: Sequence[_Serving], watch: Watch, stop: Stop, emit: Emit) -> None:
    told: Event | None = None
    tell_at = 0.0
    while not (stop() or all(each.ended for each in serving)):
        swarm.wait(LOOK_EVERY)
        for each in serving:
            _look(each, alone=len(serving) == 1, emit=emit)
        seen = _seen(swarm, serving)
        if seen != told:
            emit(seen)
            told = seen
        if time.monotonic() >= tell_at:
            watch(tuple(each.served() for each in serving))
            tell_at = time.monotonic() + TELL_EVERY
    swarm.wait(LOOK_EVERY)  # what was just sent is counted on the session's next tick
    for each in serving:
        _look(each, alone=len(serving) == 1, emit=emit)


def _look(serving: _Serving, *, alone: bool, emit: Emit) -> None:
    try:
        serving.look()
    except OutsideError as error:
        if alone:
            raise
        emit(FoundWrong(Finding("not-served", str(serving.folder), error.message)))


def _seen(swarm: Swarm, serving: Sequence[_Serving]) -> SwarmSeen:
    there = [each.status for each in serving]
    present = [each.status for each in serving if not each.ended]
    return SwarmSeen(
        peers=sum(status.peers for status in present),
        seeds=sum(status.seeds for status in present),
        dht_nodes=swarm.dht_nodes,
        uploaded=sum(status.uploaded for status in there),
    )


def _link(magnet: Magnet, port: int, options: SeedOptions) -> Magnet:
    """The link to hand out. On loopback it carries our own address, since nobody else could tell it."""
    return join_peers(magnet, [("127.0.0.1", port)]) if options.loopback else magnet
