"""Hold a folder against a manifest. Read-only; everything that is wrong is found in one go."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from threading import Event
from typing import NamedTuple

from magnetar.errors import DiskError, UsageError
from magnetar.events import Began, Emit, Ended, FoundWrong, Moved, Step, ignore
from magnetar.findings import Finding
from magnetar.manifests.checking.choose_manifest import Choice, Trust
from magnetar.manifests.checking.diagnose_file import name_precisely
from magnetar.manifests.checking.report import PIECES, FileResult, FileState, Kind, PieceCheck, Report
from magnetar.manifests.checking.verified_index import Index
from magnetar.manifests.folder.layout import payload_paths
from magnetar.manifests.hashing.digests import HEX_LENGTHS, WEAK, Digest, digest_parts, fills_cores, size_on_disk
from magnetar.manifests.schema import Manifest, ReleaseFile
from magnetar.parallel import work_in_parallel


@dataclass(frozen=True, slots=True)
class Terms:
    """How a folder is held against its manifest.

    ``pieces`` is given where the pieces were just checked against the manifest's own infohash: it decides on the files
    that have no digest. Files in ``left_out`` were not wanted, and are not checked. ``parts`` are the files that lie
    here cut into parts, in order. What is found good is noted in ``index``; with ``quick``, what is noted there is not
    read again. ``strict`` makes a finding of each file that the release does not have; ``fail_fast`` stops at the
    first finding.
    """

    pieces: PieceCheck | None = None
    left_out: Collection[str] = ()
    parts: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    index: Index | None = None
    quick: bool = False
    strict: bool = False
    fail_fast: bool = False


DEFAULT_TERMS = Terms()


def verify(folder: Path, choice: Choice, terms: Terms = DEFAULT_TERMS, *, emit: Emit = ignore) -> Report:
    """Hold every file of ``folder`` against the chosen manifest: sizes first, then digests, on all cores.

    Raises ``UsageError`` if there is no such folder; whatever is wrong inside it is in the report.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    expected = choice.manifest.files or ()
    wanted = [file for file in expected if file.path not in terms.left_out]
    checked = _Verification(folder, choice.manifest, terms, emit).run(wanted)
    checked += [_not_checked(file) for file in expected if file.path in terms.left_out]
    listed = {file.path for file in expected}
    listed |= {part.relative_to(folder).as_posix() for parts in terms.parts.values() for part in parts}
    refused: list[str] = []
    present = payload_paths(folder, refused=refused.append)
    unexpected = tuple(path for path in present if path not in listed) if expected else ()
    found = {one.finding.subject: one.digests for one in checked if one.finding}
    findings = name_precisely(folder, [one.finding for one in checked if one.finding], found, expected, unexpected)
    if terms.strict:
        findings += [Finding(Kind.UNEXPECTED, path, "the release has no such file") for path in unexpected]
        findings += [Finding(Kind.UNREADABLE, path, "is a folder that cannot be read") for path in refused]
    results = tuple(one.result for one in checked)
    return Report(
        folder=str(folder),
        release=choice.manifest.name,
        reason=choice.reason,
        trust=_trust(choice, results),
        files=results,
        findings=tuple(findings),
        unexpected=unexpected,
    )


def proofs_of(file: ReleaseFile, manifest: Manifest) -> tuple[str, ...]:
    """What proves a file: its digests, else the torrent that the manifest pins; nothing if there is neither."""
    if file.digests:
        return tuple(map(str, file.digests))
    infohash = manifest.infohash_v2 or manifest.infohash_v1
    return (f"{PIECES}:{infohash}",) if infohash else ()


class _Checked(NamedTuple):
    """One file: what is known of it, what is wrong with it, and the digests that were found."""

    result: FileResult
    finding: Finding | None = None
    digests: tuple[Digest, ...] = ()


class _Stopped(Exception):
    """Nobody waits for the digest of this file any more."""


class _Verification:
    """One run over the files of a folder."""

    def __init__(self, folder: Path, manifest: Manifest, terms: Terms, emit: Emit) -> None:
        self._folder = folder
        self._manifest = manifest
        self._terms = terms
        self._emit = emit
        self._stop = Event()
        self._full = False

    def run(self, files: Sequence[ReleaseFile]) -> list[_Checked]:
        sizes = [sum(map(size_on_disk, self._paths(file))) for file in files if file.digests]
        self._full = fills_cores(sizes)
        self._emit(Began(Step.VERIFY, sum(sizes)))
        checked = work_in_parallel(self._check, files, stopped=self._stop)
        self._emit(Ended(Step.VERIFY))
        return checked

    def _paths(self, file: ReleaseFile) -> Sequence[Path]:
        return self._terms.parts.get(file.path) or (self._folder / file.path,)

    def _check(self, file: ReleaseFile) -> _Checked:
        if self._stop.is_set():
            return _not_checked(file)
        try:
            checked = self._look(file)
        except _Stopped:
            return _not_checked(file)
        if checked.finding and checked.digests:  # what took reading to find is told at once
            self._emit(FoundWrong(checked.finding))
        if checked.finding and self._terms.fail_fast:
            self._stop.set()
        return checked

    def _look(self, file: ReleaseFile) -> _Checked:
        paths, index = self._paths(file), self._terms.index
        digests: tuple[Digest, ...] = ()
        statuses: list[os.stat_result] = []
        try:
            statuses, finding = _look_at(paths, file)
            if finding is None and self._terms.quick and (unchanged := self._recall(file, statuses)):
                return _Checked(unchanged)
            if finding is None and file.digests:
                digests, finding = self._wrong_inside(paths, statuses, file)
        except DiskError as error:
            finding = Finding(Kind.UNREADABLE, file.path, error.message)
        judged = self._judge(file, digests, finding)
        if index is not None and judged.result.state is FileState.GOOD and len(statuses) == 1:
            index.note(file.path, statuses[0], proofs_of(file, self._manifest))
        elif index is not None:
            index.forget(file.path)
        return judged

    def _wrong_inside(
        self, paths: Sequence[Path], before: Sequence[os.stat_result], file: ReleaseFile
    ) -> tuple[tuple[Digest, ...], Finding | None]:
        """Read the whole file and compare. A file that somebody writes to meanwhile has no digest to speak of."""
        found = digest_parts(paths, [digest.algorithm for digest in file.digests], self._moved, full=self._full)
        for path, then in zip(paths, before, strict=True):
            if _stamp_of(path) != (then.st_size, then.st_mtime_ns, then.st_ino):
                return found, Finding(Kind.CHANGED_WHILE_READ, file.path, "somebody wrote to it while it was read")
        for expected, actual in zip(file.digests, found, strict=True):
            if expected != actual:
                return found, Finding(Kind.WRONG_DIGEST, file.path, f"has {actual}, not {expected}")
        return found, None

    def _judge(self, file: ReleaseFile, digests: tuple[Digest, ...], finding: Finding | None) -> _Checked:
        pieces = self._terms.pieces
        checked_by = tuple(digest.algorithm for digest in file.digests)
        if pieces is not None and file.path not in pieces.damaged:
            checked_by += (PIECES,)
        if finding is None and not checked_by and pieces is not None:
            finding = Finding(Kind.WRONG_DIGEST, file.path, "has pieces that are not those of the torrent")
        if finding is not None:
            return _Checked(FileResult(file.path, file.size, FileState.BAD), finding, digests)
        paths = self._paths(file)
        result = FileResult(
            file.path,
            sum(map(size_on_disk, paths)),
            FileState.GOOD if checked_by else FileState.NOT_CHECKED,
            checked_by,
            f"in {len(paths)} parts" if len(paths) > 1 else "",
        )
        return _Checked(result)

    def _recall(self, file: ReleaseFile, statuses: Sequence[os.stat_result]) -> FileResult | None:
        """What an earlier run found of a file that has not changed since."""
        if self._terms.index is None or len(statuses) != 1:
            return None
        day = self._terms.index.recall(file.path, statuses[0], proofs_of(file, self._manifest))
        if day is None:
            return None
        checked_by = tuple(digest.algorithm for digest in file.digests) or (PIECES,)
        return FileResult(file.path, statuses[0].st_size, FileState.UNCHANGED, checked_by, f"read on {day}")

    def _moved(self, count: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._emit(Moved(Step.VERIFY, count))


def _not_checked(file: ReleaseFile) -> _Checked:
    return _Checked(FileResult(file.path, file.size, FileState.NOT_CHECKED))


def _look_at(paths: Sequence[Path], file: ReleaseFile) -> tuple[list[os.stat_result], Finding | None]:
    """What the directory entries alone show. A link is followed: a cache of blobs holds weights that way."""
    statuses: list[os.stat_result] = []
    for path in paths:
        try:
            if path.is_symlink() and not path.exists():
                return [], Finding(Kind.NOT_A_FILE, file.path, "is a link that leads to no file")
            statuses.append(path.stat())
        except FileNotFoundError:
            return [], Finding(Kind.MISSING, file.path, "there is no such file")
        except OSError as error:
            return [], Finding(Kind.UNREADABLE, file.path, error.strerror or str(error))
        if not S_ISREG(statuses[-1].st_mode):
            return [], Finding(Kind.NOT_A_FILE, file.path, "is not a regular file")
    return statuses, _wrong_size(sum(status.st_size for status in statuses), file)


def _wrong_size(size: int, file: ReleaseFile) -> Finding | None:
    if file.size is None or size == file.size:
        return None
    off = file.size - size
    if off > 0:
        return Finding(Kind.TRUNCATED, file.path, f"has {size:,} of {file.size:,} bytes: {off:,} are missing")
    return Finding(Kind.GROWN, file.path, f"has {size:,} bytes, not {file.size:,}: {-off:,} too many")


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
        return status.st_size, status.st_mtime_ns, status.st_ino
    except OSError:  # it went away
        return ()


def _trust(choice: Choice, results: tuple[FileResult, ...]) -> Trust:
    """Weak where a file rests on nothing but MD5 or SHA-1, the pieces of a v1 torrent included."""
    strong = (HEX_LENGTHS.keys() - WEAK) | ({PIECES} if choice.manifest.infohash_v2 else set())
    rests = [set(result.checked_by) for result in results if result.state in (FileState.GOOD, FileState.UNCHANGED)]
    return Trust.WEAK if any(not algorithms & strong for algorithms in rests) else choice.trust
