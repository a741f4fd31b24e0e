"""Fetching a release: from a link or a torrent to files of which every piece was checked."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import DiskError, NoSpace, OutsideError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.adoption import adopt
from magnetar.fetch.arrival import Progress, StallWatch, stalled
from magnetar.fetch.checking import check_pieces
from magnetar.fetch.discovery import LOOK_EVERY, REACH_FURTHER_AFTER, Sightings, find_metadata, reachable
from magnetar.fetch.disk import any_payload, check_destination, check_folder, check_space, part_hard_links, settle_sizes
from magnetar.fetch.exposure import what_others_see
from magnetar.fetch.magnet import Magnet
from magnetar.fetch.metainfo import read_torrent
from magnetar.fetch.mirror_feed import fed_by_mirrors
from magnetar.fetch.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.protocol import Joining, Status, Swarm, Transfer
from magnetar.fetch.selection import left_out, narrow
from magnetar.fetch.state import State, check_unclaimed, find_release, kept_torrent
from magnetar.fetch.swarm import open_swarm
from magnetar.fetch.target import Target, read_target
from magnetar.fetch.torrent import Metadata, check_same, magnet_of
from magnetar.files import lock_folder

SAVE_EVERY = 60.0  # seconds


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


def fetch(target: Target, parent: Path, *, options: FetchOptions = DEFAULT_FETCH, emit: Emit = ignore) -> Fetched:
    """Bring the release that ``target`` names into ``parent/NAME``, going on from whatever of it is there.

    ``target`` is a link, the path of a ``.torrent`` file, or its bytes. When this returns, every wanted piece has been
    checked; a second call checks again and downloads nothing. Interrupted at any moment, even by kill -9, the next
    call goes on.

    Raises ``TorrentError`` before anything is written if the torrent is unsafe; ``MetadataTimeout``, ``Stalled``,
    ``NoSpace``, ``DiskError`` or ``FolderLocked`` if the world outside fails; ``UsageError`` if something else is in
    the release's place, or no file is selected. A ``KeyboardInterrupt`` passes through after the state was saved.
    """
    began = time.monotonic()
    magnet, torrent = read_target(target)
    for note in magnet.healed:
        emit(Remarked(note))
    with ExitStack() as stack:
        swarm = _Lazily(stack, options, emit)
        kept = find_release(parent, magnet)
        torrent = torrent or (kept_torrent(kept, magnet) if kept else b"")
        if not torrent:
            torrent, magnet = find_metadata(swarm.open(), magnet, parent, options, emit)
        metadata = read_torrent(torrent)
        check_same(metadata, magnet)
        wanted = narrow(metadata, options.include, options.exclude)
        folder = kept or parent / metadata.name
        check_folder(folder)
        check_unclaimed(folder, magnet_of(metadata))
        stack.enter_context(lock_folder(folder))
        download = _Download(State(folder, metadata), wanted, torrent, magnet, swarm, options, emit)
        download.run()
    return Fetched(
        folder,
        metadata,
        download.downloaded,
        download.uploaded,
        seconds=time.monotonic() - began,
        complete=True,
        healed=magnet.healed,
        left_out=tuple(sorted(left_out(metadata, wanted))),
    )


class _Lazily:
    """One session for the whole run, and none at all if everything is here already."""

    def __init__(self, stack: ExitStack, options: FetchOptions, emit: Emit) -> None:
        self._stack = stack
        self._options = options
        self._emit = emit
        self._swarm: Swarm | None = None

    def open(self) -> Swarm:
        if self._swarm is None:
            for note in what_others_see(self._options):
                self._emit(Remarked(note))
            network = replace(self._options.network, upload=self._options.upload)
            self._swarm = self._stack.enter_context(open_swarm(network))
        return self._swarm


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
        self,
        state: State,
        wanted: Metadata,
        torrent: bytes,
        magnet: Magnet,
        swarm: _Lazily,
        options: FetchOptions,
        emit: Emit,
    ) -> None:
        self._state = state
        self._wanted = wanted
        self._unwanted = left_out(state.metadata, wanted)
        self._torrent = torrent
        self._magnet = magnet
        self._swarm = swarm
        self._options = options
        self._emit = emit
        self.downloaded = 0
        self.uploaded = 0
        # A link brings no piece hashes of version 2; peers send them with the payload. Without them, and without
        # those of version 1, only whole files could be checked, and a file that is not whole would be lost.
        self._needs_hashes = not state.metadata.infohash_v1

    def run(self) -> None:
        folder, metadata = self._state.folder, self._state.metadata
        check_destination(folder, metadata)
        if not (self._options.adopt and self._options.adopt_links):  # links take no space
            check_space(folder, self._wanted)
        self._state.keep_torrent(self._torrent, complete=False)
        claims = self._survey()
        while not claims.complete:
            self._receive(claims)
            claims = _Claims(complete=True) if claims.proven else self._check()
        settle_sizes(folder, self._wanted)
        self._state.keep_torrent(self._torrent, complete=not self._unwanted)
        self._state.withdraw()
        if not self._unwanted:
            self._state.forget_fragments()
        if not self._needs_hashes:
            self._state.forget_resume()

    def _survey(self) -> _Claims:
        """What a clean stop vouched for, else what hashing finds, after all that can be adopted was."""
        if self._state.is_vouched() and not self._options.adopt:
            return _Claims(self._state.read_resume(), proven=False)
        claims = _Claims(pieces=(False,) * self._state.metadata.piece_count)
        if any_payload(self._state.folder, self._state.metadata):
            claims = self._check()
        if self._options.adopt and not claims.complete and self._adopt(claims):
            claims = self._check()
        check_space(self._state.folder, self._wanted)
        return claims

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
            self._emit(Remarked(f"{checked.done:,} of {checked.total:,} bytes are here and good"))
        part_hard_links(folder, checked.damaged)
        return _Claims(checked.resume, checked.complete, pieces=checked.pieces)

    def _receive(self, claims: _Claims) -> None:
        """Download until every piece is there. However it ends, what is there is kept and accounted for."""
        self._state.withdraw()
        swarm = self._swarm.open()
        options = self._options
        transfer = swarm.join(
            Joining(
                self._state.folder,
                reachable(self._magnet, options, private=self._state.metadata.private),
                self._torrent,
                claims.resume,
                trusted=True,
                unwanted=self._unwanted,
                download_limit=options.download_limit,
                upload_limit=options.upload_limit,
            )
        )
        try:
            sightings = Sightings(swarm, self._emit)
            with fed_by_mirrors(
                transfer.intake, self._torrent, self._state.metadata, self._options, self._emit
            ) as feed:
                self._await_payload(swarm, transfer, sightings, feed)
            self._keep_account(transfer)
            status = sightings.look(transfer)  # the last writes may have failed
        except BaseException as error:
            with suppress(OutsideError):  # what is being raised matters more
                self._stop(transfer, disk_failed=isinstance(error, NoSpace | DiskError))
            raise
        self.downloaded += status.downloaded
        self.uploaded += status.uploaded
        transfer.leave()

    def _await_payload(
        self, swarm: Swarm, transfer: Transfer, sightings: Sightings, feed: Callable[[Status], None]
    ) -> None:
        watch = StallWatch(self._options.stall_timeout)
        progress = Progress(self._emit)
        save_at = time.monotonic() + SAVE_EVERY
        while (status := sightings.look(transfer)).phase != "complete":
            progress.tell(status)
            feed(status)
            self._adjust_reach(swarm, status, watch)
            if watch.is_stalled(status):
                raise stalled(self._state.metadata, status, watch, sightings)
            if self._needs_hashes and time.monotonic() > save_at:
                took = self._keep_account(transfer)
                save_at = time.monotonic() + max(SAVE_EVERY, 50 * took)
            swarm.wait(LOOK_EVERY)
        progress.end(status)

    def _adjust_reach(self, swarm: Swarm, status: Status, watch: StallWatch) -> None:
        """Slower ways to peers are tried while nothing comes; who was met there stays when payload flows again."""
        waited = watch.waited(status)
        if waited > REACH_FURTHER_AFTER:
            swarm.reach_further()
        elif status.downloaded and not waited:
            swarm.reach_further(False)

    def _stop(self, transfer: Transfer, *, disk_failed: bool) -> None:
        """Leave an account of what is on disk, and vouch for it, since nothing writes any more.

        A disk that failed is not vouched for: the session may count pieces that it could not write.
        """
        transfer.pause()
        self._keep_account(transfer)
        transfer.leave()
        if not disk_failed:
            self._state.vouch()

    def _keep_account(self, transfer: Transfer) -> float:
        """Keep what the session knows, after all that it received is on disk. Returns the seconds that it took."""
        began = time.monotonic()
        self._state.keep_resume(transfer.resume_data())
        return time.monotonic() - began
