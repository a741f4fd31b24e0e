"""Fetching a release: from a link or a torrent to files of which every piece was checked."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.events import Emit, LinkHealed, Resumed, Step, ignore
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
from magnetar.fetch.download.receive import Reception
from magnetar.fetch.download.state_folder import State, check_unclaimed, find_release, kept_torrent
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.selection import left_out, narrow
from magnetar.fetch.request.stop_rule import Stop, never
from magnetar.fetch.request.target import Target, read_target
from magnetar.fetch.swarm.discovery import find_metadata
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.torrent.metadata import Metadata, check_same, magnet_of
from magnetar.fetch.torrent.metainfo import check_info, read_torrent
from magnetar.files import lock_folder


@dataclass(frozen=True, slots=True)
class Fetched:
    """A release that is here. ``downloaded`` and ``uploaded`` are payload bytes of this run, ``seconds`` its time.

    ``complete`` says that every piece of every wanted file was checked; ``left_out`` are the paths of the others.
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
    """The default of what is done when everything is there: nothing."""


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
    checked; a second call checks again and downloads nothing. Interrupted at any moment, even by kill -9, the next
    call goes on.

    ``finished`` is called when everything is there. If the options say to stay, seeding begins then, and lasts until
    ``stop()`` is true, asked about four times a second, or the ratio or time is reached.

    Raises ``TorrentError`` before anything is written if the torrent is unsafe; ``MetadataTimeout``, ``Stalled``,
    ``NoSpace``, ``DiskError`` or ``FolderLocked`` if the world outside fails; ``UsageError`` if something else is in
    the release's place, or no file is selected. A ``KeyboardInterrupt`` passes through after the state was saved.
    """
    began = time.monotonic()
    magnet, torrent = read_target(target)
    for repair in magnet.healed:
        emit(LinkHealed(repair))
    with ExitStack() as stack:
        swarm = LazySwarm(stack, options, emit)
        kept = find_release(parent, magnet)
        torrent = torrent or (kept_torrent(kept, magnet) if kept else b"")
        if not torrent:
            torrent, magnet = find_metadata(swarm.open(), magnet, parent, options, emit)
        metadata = read_torrent(torrent)
        check_same(metadata, magnet)
        if options.info_digest:
            check_info(torrent, options.info_digest)
        wanted = narrow(metadata, options.include, options.exclude)
        folder = kept or parent / metadata.name
        check_folder(folder)
        check_unclaimed(folder, magnet_of(metadata))
        stack.enter_context(lock_folder(folder))
        left = left_out(metadata, wanted)
        state = State(folder, metadata)
        reception = Reception(state, torrent, magnet, left, swarm, options, emit)
        resume = _Download(state, wanted, torrent, reception, options, emit).run()
        fetched = Fetched(
            folder,
            metadata,
            reception.downloaded,
            reception.uploaded,
            seconds=time.monotonic() - began,
            complete=True,
            healed=magnet.healed,
            left_out=tuple(sorted(left)),
        )
        finished(fetched)
        if options.stays:
            reception.stay(resume, stop)
    return replace(fetched, uploaded=reception.uploaded)


@dataclass(frozen=True, slots=True)
class _Claims:
    """What is thought to be on disk. ``proven``: it was hashed in this run, rather than believed.

    ``pieces`` tells which of them are good, where it is known.
    """

    resume: bytes = b""
    complete: bool = False
    proven: bool = True
    pieces: tuple[bool, ...] = ()


class _Download:
    """One run on one folder, from what is there to all of it."""

    def __init__(
        self, state: State, wanted: Metadata, torrent: bytes, reception: Reception, options: FetchOptions, emit: Emit
    ) -> None:
        self._state = state
        self._wanted = wanted
        self._unwanted = left_out(state.metadata, wanted)
        self._torrent = torrent
        self._reception = reception
        self._options = options
        self._emit = emit

    def run(self) -> bytes:
        """Returns resume data that claims every wanted piece, each of which was checked."""
        folder, metadata = self._state.folder, self._state.metadata
        check_destination(folder, metadata)
        if not (self._options.adopt and self._options.adopt_links):  # links take no space
            self._check_space()
        self._state.keep_torrent(self._torrent, complete=False)
        claims = self._survey()
        while not claims.complete:
            self._reception.receive(claims.resume)
            claims = _Claims(self._state.read_resume(), complete=True) if claims.proven else self._check()
        settle_sizes(folder, self._wanted)
        self._state.keep_torrent(self._torrent, complete=not self._unwanted)
        self._state.withdraw()
        if not self._unwanted:
            self._state.forget_fragments()
        if not self._reception.needs_hashes:
            self._state.forget_resume()
        return claims.resume

    def _survey(self) -> _Claims:
        """What a clean stop vouched for, else what hashing finds, after all that can be adopted was."""
        if self._state.is_vouched() and not self._options.adopt:
            return _Claims(self._state.read_resume(), proven=False)
        claims = _Claims(pieces=(False,) * self._state.metadata.piece_count)
        if any_payload(self._state.folder, self._state.metadata):
            claims = self._check()
        if self._options.adopt and not claims.complete and self._adopt(claims):
            claims = self._check()
        self._check_space()
        return claims

    def _check_space(self) -> None:
        folder, ask = self._state.folder, self._options.room
        check_space(
            folder, self._wanted, ask(folder, {str(file.path): file.size for file in self._wanted.files}) if ask else 0
        )

    def _adopt(self, claims: _Claims) -> int:
        self._state.withdraw()
        options = self._options
        return adopt(
            self._state.folder,
            self._torrent,
            claims.pieces,
            options.adopt,
            unwanted=self._unwanted,
            links=options.adopt_links,
            emit=self._emit,
        )

    def _check(self) -> _Claims:
        folder = self._state.folder
        checked = check_pieces(
            folder, self._torrent, resume=self._state.read_resume(), unwanted=self._unwanted, emit=self._emit
        )
        if not checked.complete:
            self._emit(Resumed(Step.DOWNLOAD, checked.done, checked.total))
        part_hard_links(folder, checked.damaged)
        return _Claims(checked.resume, checked.complete, pieces=checked.pieces)
