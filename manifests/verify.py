"""Hold a folder against a manifest. Read-only; everything that is wrong is found in one go."""

import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from magnetar.errors import DiskError, UsageError
from magnetar.events import Began, Emit, Ended, FoundWrong, Moved, ignore
from magnetar.manifests.choice import Choice, Trust
from magnetar.manifests.diagnosis import name_precisely
from magnetar.manifests.digests import HEX_LENGTHS, WEAK, Digest, digest_file
from magnetar.manifests.folder import payload_paths
from magnetar.manifests.report import PIECES, FileResult, Finding, Kind, PieceCheck, Report, Verdict
from magnetar.manifests.schema import ReleaseFile

STEP = "verify"


def verify(
    folder: Path,
    choice: Choice,
    *,
    pieces: PieceCheck | None = None,
    left_out: Collection[str] = (),
    strict: bool = False,
    fail_fast: bool = False,
    emit: Emit = ignore,
) -> Report:
    """Hold every file of ``folder`` against the chosen manifest: sizes first, then digests, on all cores.

    ``pieces`` is given where the pieces were just checked against the manifest's own infohash: it decides on the
    files that have no digest. Files in ``left_out`` were not wanted, and are not checked. ``strict`` makes a finding
    of each file that the release does not have; ``fail_fast`` stops at the first finding. Raises ``UsageError`` if
    there is no such folder; whatever is wrong inside it is in the report.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    expected = choice.manifest.files or ()
    emit(Began(STEP, sum(_size_on_disk(folder / file.path) for file in expected if file.digests)))
    wanted = [file for file in expected if file.path not in left_out]
    checked = _check_all(folder, wanted, pieces, fail_fast, emit)
    checked += [_not_checked(file) for file in expected if file.path in left_out]
    emit(Ended(STEP))
    listed = {file.path for file in expected}
    unexpected = tuple(path for path in payload_paths(folder) if path not in listed) if listed else ()
    found = {one.finding.path: one.digests for one in checked if one.finding}
    findings = name_precisely(folder, [one.finding for one in checked if one.finding], found, expected, unexpected)
    if strict:
        findings += [Finding(Kind.UNEXPECTED, path, "the release has no such file") for path in unexpected]
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


class _Checked(NamedTuple):
    """One file: what is known of it, what is wrong with it, and the digests that were found."""

    result: FileResult
    finding: Finding | None = None
    digests: tuple[Digest, ...] = ()


class _Stopped(Exception):
    """Nobody waits for the digest of this file any more."""


def _check_all(
    folder: Path, files: Collection[ReleaseFile], pieces: PieceCheck | None, fail_fast: bool, emit: Emit
) -> list[_Checked]:
    stop = threading.Event()

    def moved(count: int) -> None:
        if stop.is_set():
            raise _Stopped
        emit(Moved(STEP, count))

    def check(file: ReleaseFile) -> _Checked:
        if stop.is_set():
            return _not_checked(file)
        checked = _check(folder, file, pieces, moved)
        if checked.finding and checked.digests:  # what took reading to find is told at once
            emit(FoundWrong(checked.finding.kind, checked.finding.path, checked.finding.detail))
        if checked.finding and fail_fast:
            stop.set()
        return checked

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            return list(pool.map(check, files))
        except BaseException:
            stop.set()  # the pool waits for its threads, and Ctrl-C should not wait for 87 GB
            raise


def _check(folder: Path, file: ReleaseFile, pieces: PieceCheck | None, moved: Callable[[int], None]) -> _Checked:
    path = folder / file.path
    checked_by = tuple(digest.algorithm for digest in file.digests)
    if pieces is not None and file.path not in pieces.damaged:
        checked_by += (PIECES,)
    digests: tuple[Digest, ...] = ()
    try:
        finding = _wrong_at_a_glance(path, file)
        if finding is None and file.digests:
            digests, finding = _wrong_inside(path, file, moved)
    except _Stopped:
        return _not_checked(file)
    except DiskError as error:
        finding = Finding(Kind.UNREADABLE, file.path, error.message)
    if finding is None and not checked_by and pieces is not None:
        finding = Finding(Kind.WRONG_DIGEST, file.path, "has pieces that are not those of the torrent")
    if finding is not None:
        return _Checked(FileResult(file.path, file.size, Verdict.BAD), finding, digests)
    verdict = Verdict.GOOD if checked_by else Verdict.NOT_CHECKED
    return _Checked(FileResult(file.path, _size_on_disk(path), verdict, checked_by))


def _not_checked(file: ReleaseFile) -> _Checked:
    return _Checked(FileResult(file.path, file.size, Verdict.NOT_CHECKED))


def _wrong_at_a_glance(path: Path, file: ReleaseFile) -> Finding | None:
    """What the directory entry alone shows. A link is followed: a cache of blobs holds weights that way."""
    try:
        if path.is_symlink() and not path.exists():
            return Finding(Kind.NOT_A_FILE, file.path, "is a link that leads to no file")
        status = path.stat()
    except FileNotFoundError:
        return Finding(Kind.MISSING, file.path, "there is no such file")
    except OSError as error:
        return Finding(Kind.UNREADABLE, file.path, error.strerror or str(error))
    if not S_ISREG(status.st_mode):
        return Finding(Kind.NOT_A_FILE, file.path, "is not a regular file")
    if file.size is None or status.st_size == file.size:
        return None
    off = file.size - status.st_size
    if off > 0:
        return Finding(Kind.TRUNCATED, file.path, f"has {status.st_size:,} of {file.size:,} bytes: {off:,} are missing")
    return Finding(Kind.GROWN, file.path, f"has {status.st_size:,} bytes, not {file.size:,}: {-off:,} too many")


def _wrong_inside(
    path: Path, file: ReleaseFile, moved: Callable[[int], None]
) -> tuple[tuple[Digest, ...], Finding | None]:
    """Read the whole file and compare. A file that somebody writes to meanwhile has no digest to speak of."""
    before = path.stat()
    found = digest_file(path, [digest.algorithm for digest in file.digests], moved)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return found, Finding(Kind.CHANGED_WHILE_READ, file.path, "somebody wrote to it while it was read")
    for expected, actual in zip(file.digests, found, strict=True):
        if expected != actual:
            return found, Finding(Kind.WRONG_DIGEST, file.path, f"has {actual}, not {expected}")
    return found, None


def _size_on_disk(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _trust(choice: Choice, results: tuple[FileResult, ...]) -> Trust:
    """Weak where a file rests on nothing but MD5 or SHA-1, the pieces of a v1 torrent included."""
    strong = (HEX_LENGTHS.keys() - WEAK) | ({PIECES} if choice.manifest.infohash_v2 else set())
    rests = [set(result.checked_by) for result in results if result.verdict is Verdict.GOOD]
    return Trust.WEAK if any(not algorithms & strong for algorithms in rests) else choice.trust
