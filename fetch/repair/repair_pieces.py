"""Repair: only the damaged pieces of a folder are fetched, beside it, and written over once they are proven.

Fetched pieces wait in ``.magnetar/repair/``. Whatever ends a repair, the next one finds what waits there.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Remarked, Step, ignore
from magnetar.fetch.download.adoptable_files import Shelf
from magnetar.fetch.download.check_on_disk import check_pieces
from magnetar.fetch.download.disk_checks import check_destination, check_folder, free_bytes, missing_bytes, settle_sizes
from magnetar.fetch.download.state_folder import State, check_unclaimed, kept_torrent, read_kept_torrent
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.repair.patch_pieces import Copies, Mender
from magnetar.fetch.repair.staging import Staging
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.target import Target, read_target
from magnetar.fetch.swarm.discovery import find_metadata
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.torrent.metadata import Metadata, check_same, magnet_of
from magnetar.fetch.torrent.metainfo import check_info, file_digests, read_torrent
from magnetar.fetch.torrent.pieces_on_disk import Pieces
from magnetar.files import disk_failure, lock_folder
from magnetar.manifests.folder.origin import read_origin

STAGE = "repair"
"""The folder below ``.magnetar/`` in which fetched pieces wait."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A folder of which every piece is good now. Counts are of bytes, ``seconds`` of wall time.

    ``ranges`` has what lay in damaged pieces, as offset and length, by file; ``pieces`` counts those pieces, and
    ``damaged`` their bytes. ``adopted`` came from copies on this machine, a repair that was interrupted included;
    ``downloaded`` and ``uploaded`` passed the network. ``written`` is what changed on disk: the blocks that differed.
    ``resized`` are files that were cut to their size, or empty ones that were missing. ``left_out`` are files of an
    unfinished download that are not here at all, and stay so.
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
    folder: Path, target: Target | None = None, *, options: FetchOptions = DEFAULT_FETCH, emit: Emit = ignore
) -> Repaired:
    """Make every piece of ``folder`` good, and change nothing else.

    ``target`` is the torrent, or the link that leads to it; None is the one that the folder was fetched by. Pieces come
    from a repair that was interrupted, from ``options.adopt``, then from the swarm and ``options.mirrors``; none is
    written before its hash was found right. Raises ``UsageError`` if no torrent is known or something is in the way,
    ``TorrentError``, ``MetadataTimeout``, ``Stalled``, ``NoSpace``, ``DiskError`` or ``FolderLocked``; what was mended
    until then stays mended.
    """
    began = time.monotonic()
    check_folder(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder of a release")
    with ExitStack() as stack:
        swarm = LazySwarm(stack, options, emit)
        torrent, magnet = _find_torrent(folder, target, swarm, options, emit)
        check_unclaimed(folder, magnet)
        stack.enter_context(lock_folder(folder))
        repaired = _Repair(folder, torrent, magnet, swarm, options, emit).run()
    return replace(repaired, seconds=time.monotonic() - began)


def _find_torrent(
    folder: Path, target: Target | None, swarm: LazySwarm, options: FetchOptions, emit: Emit
) -> tuple[bytes, Magnet]:
    """The ``.torrent`` bytes, and the link with the peers that were met on the way to them."""
    if target is None:
        torrent = read_kept_torrent(folder)
        if not torrent:
            raise UsageError(
                f"{folder}: nothing says by which torrent it was fetched",
                hint="name the release with --manifest, or its torrent with --torrent",
            )
        return torrent, magnet_of(read_torrent(torrent))
    magnet, torrent = read_target(target)
    torrent = torrent or kept_torrent(folder, magnet)
    if not torrent:
        torrent, magnet = find_metadata(swarm.open(), magnet, folder, options, emit)
    check_same(read_torrent(torrent), magnet)
    if options.info_digest:
        check_info(torrent, options.info_digest)
    return torrent, magnet


class _Repair:
    """One run on one folder."""

    def __init__(
        self, folder: Path, torrent: bytes, magnet: Magnet, swarm: LazySwarm, options: FetchOptions, emit: Emit
    ) -> None:
        self._folder = folder
        self._torrent = torrent
        self._options = options
        self._emit = emit
        self._metadata = read_torrent(torrent)
        self._pieces = Pieces(torrent)
        self._state = State(folder, self._metadata)
        self._left_out = _find_left_out(folder, self._metadata)
        wanted = (file for file in self._metadata.files if str(file.path) not in self._left_out)
        self._wanted = replace(self._metadata, files=tuple(wanted))
        self._mender = Mender(folder, self._pieces, self._left_out)
        stage = self._state.path / STAGE
        self._stage = Staging(stage, torrent, magnet, self._metadata, self._pieces, swarm, options, emit)
        self._written = 0

    def run(self) -> Repaired:
        if not self._wanted.files:
            raise UsageError(f"{self._folder}: holds no file of {self._metadata.name}", hint="fetch it")
        check_destination(self._folder, self._metadata)
        missized = {str(file.path) for file in self._wanted.files if _size(self._folder / file.path) != file.size}
        bad = self._survey()
        ranges = self._ranges(bad)
        self._state.withdraw()
        lacking = self._mend_from_here(bad) if bad else []
        if lacking:
            self._mend_from_afar(lacking)
        settle_sizes(self._folder, self._still_missized())
        self._state.keep_torrent(self._torrent, complete=not self._left_out)
        self._stage.clear()
        return Repaired(
            folder=self._folder,
            metadata=self._metadata,
            pieces=len(bad),
            damaged=sum(map(self._pieces.length, bad)),
            ranges=ranges,
            resized=tuple(sorted(missized - ranges.keys())),
            adopted=sum(map(self._pieces.length, bad)) - sum(map(self._pieces.length, lacking)),
            downloaded=self._stage.downloaded,
            uploaded=self._stage.uploaded,
            written=self._written,
            left_out=tuple(sorted(self._left_out)),
        )

    def _survey(self) -> list[int]:
        """The damaged pieces that some wanted file lies in."""
        resume = self._state.read_resume()
        checked = check_pieces(self._folder, self._torrent, resume=resume, unwanted=self._left_out, emit=self._emit)
        ours = self._pieces.touching(str(file.path) for file in self._wanted.files)
        bad = [piece for piece in ours if not checked.pieces[piece]]
        if bad:
            total = sum(map(self._pieces.length, bad))
            self._emit(Remarked(f"{len(bad):,} pieces are damaged or missing, {total:,} bytes"))
        return bad

    def _ranges(self, bad: Sequence[int]) -> dict[str, list[tuple[int, int]]]:
        ranges = self._pieces.ranges(bad)
        return {path: runs for path, runs in ranges.items() if path not in self._left_out}

    def _still_missized(self) -> Metadata:
        """Only the files whose size is wrong, so that no other is touched."""
        odd = (file for file in self._wanted.files if _size(self._folder / file.path) != file.size)
        return replace(self._wanted, files=tuple(odd))

    def _mend_from_here(self, bad: Sequence[int]) -> list[int]:
        """Mend with what a repair before this one fetched, and with copies that the user named; what lacks is left."""
        if not self._options.adopt and not self._stage.folder.exists():
            return list(bad)
        copies = self._staged(bad)
        shelf = Shelf(self._options.adopt, apart_from=self._folder)
        for file in file_digests(self._torrent):
            if file.path in copies:
                copies[file.path] += [candidate.paths for candidate in shelf.candidates(file)]
        lacking = self._mend(bad, copies)
        self._mender.settle()
        return lacking

    def _mend_from_afar(self, lacking: Sequence[int]) -> None:
        """Fetch what lacks, and mend with it. Where fetching ends early, what came is used all the same."""
        self._check_space(lacking)
        try:
            self._stage.fetch(lacking, self._state.read_resume())
        finally:
            came = [piece for piece in lacking if piece in self._stage.good]
            placed = self._put_in_place(came)
            came = [piece for piece in came if not placed.issuperset(self._pieces.layout.paths(piece))]
            left = self._mend(came, self._staged(came), trusted=True)
            self._mender.settle()
        if left:
            raise DiskError(
                f"{self._folder}: {len(left)} pieces that came cannot be read back",
                hint="another program may work in this folder; run the same command again",
            )

    def _staged(self, pieces: Sequence[int]) -> dict[str, list[Copies]]:
        return {path: [(self._stage.folder / path,)] for path in self._pieces.ranges(pieces)}

    def _put_in_place(self, came: Sequence[int]) -> set[str]:
        """Files of which nothing was here are not copied, but renamed. Returns their paths."""
        placed, whole = set(), set(came)
        for file in self._wanted.files:
            path, staged = self._folder / file.path, self._stage.folder / file.path
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
        """Write what the copies have of some pieces; return those that they do not have."""
        lacking = []
        self._emit(Began(Step.MEND, sum(map(self._pieces.length, pieces))))
        for piece in pieces:
            written = self._mender.mend_from(piece, copies, trusted=trusted)
            if written is None:
                lacking.append(piece)
            self._written += written or 0
            self._emit(Moved(Step.MEND, self._pieces.length(piece)))
        self._emit(Ended(Step.MEND))
        return lacking

    def _check_space(self, lacking: Sequence[int]) -> None:
        """Pieces wait beside the files until they are proven, and files that were cut short grow again."""
        here = tuple(file for file in self._wanted.files if (self._folder / file.path).exists())
        needed = sum(map(self._pieces.length, lacking)) + missing_bytes(
            self._folder, replace(self._metadata, files=here)
        )
        free = free_bytes(self._folder)
        if needed > free:
            raise NoSpace(
                f"{self._folder}: to repair it takes {needed:,} bytes for a while, and only {free:,} are free",
                hint=f"make {needed - free:,} bytes of space",
            )


def _find_left_out(folder: Path, metadata: Metadata) -> frozenset[str]:
    """Files of an unfinished download that are not here: they were not wanted, or have not come yet."""
    origin = read_origin(folder)
    if origin is None or origin.complete:
        return frozenset()
    return frozenset(str(file.path) for file in metadata.files if not (folder / file.path).exists())


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
