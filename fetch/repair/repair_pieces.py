"""Repair by pieces: only damaged pieces are fetched, and written over the bad ones once they are proven.

Fetched pieces wait in ``.magnetar/repair/``. However a repair ends, the next one finds the pieces that wait there.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Remarked, Step, ignore
from magnetar.fetch.download.adoptable_files import AdoptableFiles
from magnetar.fetch.download.check_on_disk import check_pieces
from magnetar.fetch.download.disk_checks import check_destination, check_folder, free_bytes, missing_bytes, settle_sizes
from magnetar.fetch.download.resolve_target import resolve_torrent
from magnetar.fetch.download.state_folder import (
    State,
    check_unclaimed,
    files_not_fetched,
    matching_torrent,
    read_kept_torrent,
)
from magnetar.fetch.repair.patch_pieces import Copies, Mender
from magnetar.fetch.repair.staging import Staging
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.target import Target, read_target
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.torrent.known_torrent import KnownTorrent, know_torrent
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.metainfo import file_digests
from magnetar.fetch.torrent.pieces_on_disk import Pieces
from magnetar.files import disk_failure, lock_folder

STAGING_FOLDER = "repair"
"""The folder below ``.magnetar/`` in which fetched pieces, and whole files, wait until they are proven."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A folder of which every piece is good now. Counts are of bytes, ``seconds`` of wall time.

    ``ranges`` are the ranges of each file, as offset and length, that lay in damaged pieces; ``pieces`` counts those
    pieces, and ``damaged`` their bytes. ``adopted`` bytes came from copies on this machine, those of an interrupted
    repair included; ``downloaded`` and ``uploaded`` passed the network. ``written`` is what changed on disk: the blocks
    that differed. ``resized`` are files that were cut to their size, or empty ones that were missing. ``left_out`` are
    files of an unfinished download that are not here at all, and stay so.
    """

    folder: Path
    metadata: Metadata
    pieces: int
    damaged: int
    ranges: Mapping[str, Sequence[tuple[int, int]]]
    resized: tuple[str, ...]
    adopted: int
    downloaded: int
    uploaded: int
    written: int
    left_out: tuple[str, ...]
    seconds: float = 0.0


def repair(
    folder: Path,
    target: Target | None = None,
    *,
    kept: bytes | None = None,
    options: FetchOptions = DEFAULT_FETCH,
    emit: Emit = ignore,
) -> Repaired:
    """Make every piece of ``folder`` good, and change nothing else.

    ``target`` is the torrent, or the link that leads to it; None stands for the one that the folder was fetched by.
    ``kept`` are the ``.torrent`` bytes that the folder remembers, where the caller has read them already.

    Pieces come from a repair that was interrupted, from ``options.adopt``, then from the swarm and ``options.mirrors``.
    None is written before its hash was found right. Raises ``UsageError`` if no torrent is known or something is in the
    way, ``TorrentError``, ``MetadataTimeout``, ``Stalled``, ``NoSpace``, ``DiskError`` or ``FolderLocked``; what was
    mended until then stays mended.
    """
    began = time.monotonic()
    check_folder(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder of a release")
    kept = read_kept_torrent(folder) if kept is None else kept
    with ExitStack() as stack:
        swarm = LazySwarm(stack, options, emit)
        torrent = _find_torrent(folder, target, kept, swarm, options, emit)
        check_unclaimed(folder, torrent.magnet)
        stack.enter_context(lock_folder(folder))
        repaired = _Repair(folder, torrent, swarm, options, emit).run()
    return replace(repaired, seconds=time.monotonic() - began)


def _find_torrent(
    folder: Path, target: Target | None, kept: bytes, swarm: LazySwarm, options: FetchOptions, emit: Emit
) -> KnownTorrent:
    if target is not None:
        magnet, content = read_target(target)
        return resolve_torrent(magnet, content or matching_torrent(kept, magnet), folder, swarm, options, emit)
    if not kept:
        raise UsageError(
            f"{folder}: nothing says by which torrent it was fetched",
            hint="name the release with --manifest, or its torrent with --torrent",
        )
    return know_torrent(kept)


class _Repair:
    """One run on one folder."""

    def __init__(
        self, folder: Path, torrent: KnownTorrent, swarm: LazySwarm, options: FetchOptions, emit: Emit
    ) -> None:
        self._folder = folder
        self._torrent = torrent
        self._options = options
        self._emit = emit
        self._pieces = Pieces(torrent.content)
        self._state = State(folder, torrent.metadata)
        self._left_out = files_not_fetched(folder, torrent.metadata)
        wanted = (file for file in torrent.metadata.files if str(file.path) not in self._left_out)
        self._wanted = replace(torrent.metadata, files=tuple(wanted))
        self._mender = Mender(folder, self._pieces, self._left_out)
        self._staging = Staging(self._state.path / STAGING_FOLDER, torrent, self._pieces, swarm, options, emit)
        self._written = 0

    def run(self) -> Repaired:
        """Find the damaged pieces, mend them, and bring every file to its size."""
        if not self._wanted.files:
            raise UsageError(f"{self._folder}: holds no file of {self._torrent.metadata.name}", hint="fetch it")
        check_destination(self._folder, self._torrent.metadata)
        missized = {str(file.path) for file in self._missized().files}
        bad = self._find_bad_pieces()
        ranges = {path: runs for path, runs in self._pieces.ranges(bad).items() if path not in self._left_out}
        self._state.withdraw()
        lacking = self._mend_from_disk(bad) if bad else []
        if lacking:
            self._mend_from_network(lacking)
        settle_sizes(self._folder, self._missized())
        self._state.keep_torrent(self._torrent.content, complete=not self._left_out)
        self._staging.clear()
        damaged = self._count_bytes(bad)
        return Repaired(
            folder=self._folder,
            metadata=self._torrent.metadata,
            pieces=len(bad),
            damaged=damaged,
            ranges=ranges,
            resized=tuple(sorted(missized - ranges.keys())),
            adopted=damaged - self._count_bytes(lacking),
            downloaded=self._staging.downloaded,
            uploaded=self._staging.uploaded,
            written=self._written,
            left_out=tuple(sorted(self._left_out)),
        )

    def _find_bad_pieces(self) -> list[int]:
        """The pieces that are not good, of those that some wanted file lies in."""
        checked = check_pieces(
            self._folder,
            self._torrent.content,
            resume=self._state.read_resume(),
            unwanted=self._left_out,
            emit=self._emit,
        )
        touched = self._pieces.touching(str(file.path) for file in self._wanted.files)
        bad = [piece for piece in touched if not checked.pieces[piece]]
        if bad:
            self._emit(Remarked(f"{len(bad):,} pieces are damaged or missing, {self._count_bytes(bad):,} bytes"))
        return bad

    def _count_bytes(self, pieces: Sequence[int]) -> int:
        return sum(map(self._pieces.length, pieces))

    def _missized(self) -> Metadata:
        """The torrent with only the wanted files whose size is wrong now."""
        missized = (file for file in self._wanted.files if _size(self._folder / file.path) != file.size)
        return replace(self._wanted, files=tuple(missized))

    def _mend_from_disk(self, bad: Sequence[int]) -> list[int]:
        """Mend with what an earlier repair fetched, and with copies that the user named. Returns what lacks still."""
        if not self._options.adopt and not self._staging.folder.exists():
            return list(bad)
        copies = self._staged(bad)
        adoptable = AdoptableFiles(self._options.adopt, apart_from=self._folder)
        for file in file_digests(self._torrent.content):
            if file.path in copies:
                copies[file.path] += [candidate.paths for candidate in adoptable.candidates(file)]
        lacking = self._mend(bad, copies)
        self._mender.sync()
        return lacking

    def _mend_from_network(self, lacking: Sequence[int]) -> None:
        """Fetch the pieces that lack, and mend with them. Where fetching ends early, what came is used all the same."""
        self._check_space(lacking)
        try:
            self._staging.fetch(lacking, self._state.read_resume())
        finally:
            came = [piece for piece in lacking if piece in self._staging.good]
            placed = self._put_in_place(came)
            came = [piece for piece in came if not placed.issuperset(self._pieces.layout.paths(piece))]
            unread = self._mend(came, self._staged(came), trusted=True)
            self._mender.sync()
        if unread:
            raise DiskError(
                f"{self._folder}: {len(unread)} pieces that came cannot be read back",
                hint="another program may work in this folder; run the same command again",
                path=self._folder,
            )

    def _staged(self, pieces: Sequence[int]) -> dict[str, list[Copies]]:
        return {path: [(self._staging.folder / path,)] for path in self._pieces.ranges(pieces)}

    def _put_in_place(self, came: Sequence[int]) -> set[str]:
        """Rename files of which nothing was here, rather than copy them. Returns their paths."""
        placed, whole = set(), set(came)
        for file in self._wanted.files:
            path, staged = self._folder / file.path, self._staging.folder / file.path
            needed = self._pieces.layout.pieces(str(file.path))
            if needed and whole.issuperset(needed) and not path.exists() and _size(staged) == file.size:
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(staged, path)
                except OSError as error:
                    raise disk_failure(error, path) from error
                self._written += file.size
                placed.add(str(file.path))
        return placed

    def _mend(
        self, pieces: Sequence[int], copies: Mapping[str, Sequence[Copies]], *, trusted: bool = False
    ) -> list[int]:
        """Write what the copies have of some pieces. Returns the pieces that they do not have."""
        lacking = []
        self._emit(Began(Step.MEND, self._count_bytes(pieces)))
        for piece in pieces:
            written = self._mender.mend_from(piece, copies, trusted=trusted)
            if written is None:
                lacking.append(piece)
            self._written += written or 0
            self._emit(Moved(Step.MEND, self._pieces.length(piece)))
        self._emit(Ended(Step.MEND))
        return lacking

    def _check_space(self, lacking: Sequence[int]) -> None:
        """Raise ``NoSpace`` unless there is room for the pieces that wait, and for files that were cut short."""
        here = tuple(file for file in self._wanted.files if (self._folder / file.path).exists())
        missing = missing_bytes(self._folder, replace(self._torrent.metadata, files=here))
        needed, free = self._count_bytes(lacking) + missing, free_bytes(self._folder)
        if needed > free:
            raise NoSpace(
                f"{self._folder}: the repair takes {needed:,} bytes until it is done, and only {free:,} are free",
                hint=f"make {needed - free:,} bytes of space",
                path=self._folder,
                needed=needed,
                free=free,
            )


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
