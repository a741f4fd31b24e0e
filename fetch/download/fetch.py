"""Fetching a release: from a link or a torrent to files of which every piece was checked."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.events import Emit, Resumed, Step, ignore
from magnetar.fetch.download.adopt_files import adopt
from magnetar.fetch.download.check_on_disk import check_pieces
from magnetar.fetch.download.disk_checks import (
    any_payload,
    check_destination,
    check_folder,
    check_space,
    part_hard_links,
    settle_sizes,
)
from magnetar.fetch.download.receive import Receiver
from magnetar.fetch.download.resolve_target import ResolvedTarget, resolve_target
from magnetar.fetch.download.state_folder import State, check_unclaimed
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.stop_rule import Stop, never
from magnetar.fetch.request.target import Target
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.torrent.metadata import Metadata, magnet_of
from magnetar.files import lock_folder


@dataclass(frozen=True, slots=True)
class Fetched:
    """A release that is here. ``downloaded`` and ``uploaded`` are payload bytes of this run, ``seconds`` its time.

    ``complete`` says that every piece of every wanted file was checked; ``left_out`` are the paths of the other files.
    ``healed`` is what had to be mended in the link.
    """

    folder: Path
    metadata: Metadata
    downloaded: int
    uploaded: int
    seconds: float
    complete: bool
    healed: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def ignore_fetched(_fetched: Fetched) -> None:
    """The default of ``finished``: do nothing when everything is there."""


def fetch(
    target: Target,
    parent: Path,
    *,
    options: FetchOptions = DEFAULT_FETCH,
    finished: Callable[[Fetched], None] = ignore_fetched,
    stop: Stop = never,
    emit: Emit = ignore,
) -> Fetched:
    """Bring the release that ``target`` names into ``parent/NAME``, going on from whatever of it is there.

    ``target`` is a link, the path of a ``.torrent`` file, or its bytes. When this returns, every wanted piece has been
    checked; a second call checks again and downloads nothing. If a run is interrupted at any moment, even by kill -9,
    the next one goes on from there.

    ``finished`` is called when everything is there. If the options say to stay, seeding begins then. It lasts until
    ``stop()`` is true, which is asked about four times a second, or until the ratio or the time is reached.

    Raises ``TorrentError`` before anything is written if the torrent is unsafe; ``MetadataTimeout``, ``Stalled``,
    ``NoSpace``, ``DiskError`` or ``FolderLocked`` if the world outside fails; ``UsageError`` if something else is in
    the release's place, or no file is selected. A ``KeyboardInterrupt`` passes through after the state was saved.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        swarm = LazySwarm(stack, options, emit)
        release = resolve_target(target, parent, swarm, options, emit)
        folder, torrent = release.folder, release.torrent
        check_folder(folder)
        check_unclaimed(folder, magnet_of(torrent.metadata))
        stack.enter_context(lock_folder(folder))
        receiver = Receiver(State(folder, torrent.metadata), torrent, release.left_out, swarm, options, emit)
        resume = _Download(release, receiver, options, emit).run()
        fetched = Fetched(
            folder=folder,
            metadata=torrent.metadata,
            downloaded=receiver.downloaded,
            uploaded=receiver.uploaded,
            seconds=time.monotonic() - began,
            complete=True,
            healed=torrent.magnet.healed,
            left_out=tuple(sorted(release.left_out)),
        )
        finished(fetched)
        if options.stays:
            receiver.stay(resume, stop)
    return replace(fetched, uploaded=receiver.uploaded)


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """What is thought to be on disk. ``proven``: it was hashed in this run, rather than believed.

    ``complete``: no wanted piece is missing. ``pieces`` says of each piece whether it is good, where that is known.
    ``resume`` is what a session needs to go on from there.
    """

    resume: bytes = b""
    complete: bool = False
    proven: bool = True
    pieces: tuple[bool, ...] = ()


class _Download:
    """One run on one folder, from what is there to all of it."""

    def __init__(self, release: ResolvedTarget, receiver: Receiver, options: FetchOptions, emit: Emit) -> None:
        self._folder = release.folder
        self._torrent = release.torrent
        self._wanted = release.wanted
        self._left_out = release.left_out
        self._state = State(release.folder, release.torrent.metadata)
        self._receiver = receiver
        self._options = options
        self._emit = emit

    def run(self) -> bytes:
        """Returns resume data that claims every wanted piece, each of which was checked."""
        check_destination(self._folder, self._torrent.metadata)
        if not (self._options.adopt and self._options.adopt_links):  # links take no space
            self._check_space()
        self._state.keep_torrent(self._torrent.content, complete=False)
        found = self._survey()
        while not found.complete:
            self._receiver.receive(found.resume)
            # What was believed at first is hashed now; what it claimed wrongly is fetched in the next round.
            found = _OnDisk(self._state.read_resume(), complete=True) if found.proven else self._check()
        self._finish()
        return found.resume

    def _survey(self) -> _OnDisk:
        """What a clean stop vouched for; otherwise, what hashing finds after files were adopted."""
        if self._state.is_vouched() and not self._options.adopt:
            return _OnDisk(self._state.read_resume(), proven=False)
        found = _OnDisk(pieces=(False,) * self._torrent.metadata.piece_count)
        if any_payload(self._folder, self._torrent.metadata):
            found = self._check()
        if self._options.adopt and not found.complete and self._adopt(found):
            found = self._check()
        self._check_space()
        return found

    def _finish(self) -> None:
        """Bring every file to its size, note that the release is complete, and drop the state of the download."""
        settle_sizes(self._folder, self._wanted)
        self._state.keep_torrent(self._torrent.content, complete=not self._left_out)
        self._state.withdraw()
        if not self._left_out:
            self._state.forget_fragments()
        if not self._receiver.needs_hashes:
            self._state.forget_resume()

    def _check_space(self) -> None:
        room = self._options.room
        sizes = {str(file.path): file.size for file in self._wanted.files}
        check_space(self._folder, self._wanted, room(self._folder, sizes) if room else 0)

    def _adopt(self, found: _OnDisk) -> int:
        self._state.withdraw()
        return adopt(
            self._folder,
            self._torrent.content,
            found.pieces,
            self._options.adopt,
            unwanted=self._left_out,
            links=self._options.adopt_links,
            emit=self._emit,
        )

    def _check(self) -> _OnDisk:
        resume = self._state.read_resume()
        checked = check_pieces(
            self._folder, self._torrent.content, resume=resume, unwanted=self._left_out, emit=self._emit
        )
        if not checked.complete:
            self._emit(Resumed(Step.DOWNLOAD, checked.done, checked.total))
        part_hard_links(self._folder, checked.damaged)
        return _OnDisk(checked.resume, checked.complete, pieces=checked.pieces)
