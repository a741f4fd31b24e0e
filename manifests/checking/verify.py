"""Verify a folder: hold its files against a manifest. Read-only, and one run finds everything that is wrong.

Cheap checks come first: what the directory entries show, then what an earlier run noted (``quick``), then the digests.
"""

import errno
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from threading import Event
from typing import NamedTuple

from magnetar.errors import DiskError, ManifestError, UsageError
from magnetar.events import Began, Emit, Ended, FoundWrong, Moved, Step, ignore
from magnetar.files import Stamp, stamp
from magnetar.findings import Finding
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.diagnose_file import diagnose_files
from magnetar.manifests.checking.verified_index import VerifiedIndex
from magnetar.manifests.checking.verify_report import PIECES, FileFault, FileResult, FileState, PieceCheck, VerifyReport
from magnetar.manifests.folder.layout import OWN_MANIFEST, every_path
from magnetar.manifests.folder.loadable import is_own_state
from magnetar.manifests.hashing.digests import HEX_LENGTHS, WEAK, Digest, digest_parts, fills_cores, size_on_disk
from magnetar.manifests.schema import Manifest, ReleaseFile, load_manifest
from magnetar.parallel import work_in_parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What is known before a verification, and how thorough it is to be."""

    pieces: PieceCheck | None = None
    """What hashing the torrent's pieces found, just now, if the manifest pins that torrent. It decides on the files
    that have no digest."""
    left_out: Collection[str] = ()
    """Paths of the files that the user did not want. They are reported as not checked."""
    parts: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """For each file of the release that lies here cut into parts: the parts, in their order."""
    index: VerifiedIndex | None = None
    """Where the files that are found good are noted, for a later ``quick`` run."""
    quick: bool = False
    """Do not read a file again that ``index`` notes as good, and that has not changed since."""
    strict: bool = False
    """Make a finding of each file that is here and not in the release."""
    fail_fast: bool = False
    """Stop at the first finding. The files that are left are reported as not checked."""


DEFAULT_OPTIONS = VerifyOptions()


def verify(
    folder: Path, choice: ChosenManifest, options: VerifyOptions = DEFAULT_OPTIONS, *, emit: Emit = ignore
) -> VerifyReport:
    """Hold every file of ``folder`` against the chosen manifest: sizes first, then digests, on all cores.

    Raises ``UsageError`` if there is no such folder; whatever is wrong inside it is in the report.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    expected = choice.manifest.files or ()
    wanted = [file for file in expected if file.path not in options.left_out]
    checked = _Verification(folder, choice.manifest, options, emit).check_files(wanted)
    checked += [_not_checked(file) for file in expected if file.path in options.left_out]
    unexpected, notes, unreadable = _list_others(folder, choice, options.parts)
    # Only now that every file was seen can a missing file be recognised under another name.
    found = {file.finding.subject: file.digests for file in checked if file.finding}
    findings = diagnose_files(folder, [file.finding for file in checked if file.finding], found, expected, unexpected)
    if options.strict:
        findings += [Finding(FileFault.UNEXPECTED, path, "the release has no such file") for path in unexpected]
    results = tuple(file.result for file in checked)
    return VerifyReport(
        folder=str(folder),
        release=choice.manifest.name,
        reason=choice.reason,
        voucher=choice.voucher,
        files=results,
        findings=tuple(findings),
        unexpected=unexpected,
        notes=notes,
        unreadable_folders=tuple(unreadable),
        manifest_digest=choice.digest,
    )


def proofs_of(file: ReleaseFile, manifest: Manifest) -> tuple[str, ...]:
    """What proves a file: its digests, else the torrent that the manifest pins; empty if there is neither."""
    if file.digests:
        return tuple(map(str, file.digests))
    infohash = manifest.infohash_v2 or manifest.infohash_v1
    return (f"{PIECES}:{infohash}",) if infohash else ()


class _CheckedFile(NamedTuple):
    """What checking one file gave: its result, what is wrong with it, and the digests that were computed."""

    result: FileResult
    finding: Finding | None = None
    digests: tuple[Digest, ...] = ()


class _Stopped(Exception):
    """The run was stopped while this file was read."""


class _Verification:
    """One run over the files of a folder, several at a time."""

    def __init__(self, folder: Path, manifest: Manifest, options: VerifyOptions, emit: Emit) -> None:
        self._folder = folder
        self._manifest = manifest
        self._options = options
        self._emit = emit
        self._stop = Event()
        self._cores_are_full = False
        """Whether one thread for each file keeps all cores busy, so that no file needs several."""

    def check_files(self, files: Sequence[ReleaseFile]) -> list[_CheckedFile]:
        """Check each file, in parallel; the results are in the order of ``files``."""
        sizes = [sum(map(size_on_disk, self._paths_of(file))) for file in files if file.digests]
        self._cores_are_full = fills_cores(sizes)
        self._emit(Began(Step.VERIFY, sum(sizes)))
        checked = work_in_parallel(self._check_unless_stopped, files, stopped=self._stop)
        self._emit(Ended(Step.VERIFY))
        return checked

    def _check_unless_stopped(self, file: ReleaseFile) -> _CheckedFile:
        if self._stop.is_set():
            return _not_checked(file)
        try:
            checked = self._check_file(file)
        except _Stopped:
            return _not_checked(file)
        if checked.finding and checked.digests:  # it took a read to find out, so the user hears of it at once
            self._emit(FoundWrong(checked.finding))
        if checked.finding and self._options.fail_fast:
            self._stop.set()
        return checked

    def _check_file(self, file: ReleaseFile) -> _CheckedFile:
        """Check one file, the cheapest check first, and note in the index whether it is good."""
        paths = self._paths_of(file)
        digests: tuple[Digest, ...] = ()
        statuses: list[os.stat_result] = []
        try:
            statuses, finding = _check_entries(paths, file)
            if finding is None and self._options.quick and (unchanged := self._recall(file, statuses)):
                return _CheckedFile(unchanged)
            if finding is None and file.digests:
                digests, finding = self._compare_digests(paths, statuses, file)
            checked = self._judge(file, digests, finding)
        except DiskError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                finding = Finding(FileFault.MISSING, file.path, "was removed while it was looked at")
                checked = self._judge(file, (), finding)
            else:
                checked = _CheckedFile(FileResult(file.path, file.size, FileState.UNREADABLE, detail=error.message))
        self._note(file, statuses, checked.result.state)
        return checked

    def _compare_digests(
        self, paths: Sequence[Path], before: Sequence[os.stat_result], file: ReleaseFile
    ) -> tuple[tuple[Digest, ...], Finding | None]:
        """Read the whole file and compare. A file that somebody writes to meanwhile has no digest to speak of."""
        algorithms = [digest.algorithm for digest in file.digests]
        found = digest_parts(paths, algorithms, self._report_progress, cores_are_full=self._cores_are_full)
        for path, status in zip(paths, before, strict=True):
            if _stamp_of(path) != stamp(status):
                return found, Finding(
                    FileFault.CHANGED_WHILE_READ, file.path, "it, its mode or its links changed while it was read"
                )
        for expected, actual in zip(file.digests, found, strict=True):
            if expected != actual:
                return found, Finding(FileFault.WRONG_DIGEST, file.path, f"has {actual}, not {expected}")
        return found, None

    def _judge(self, file: ReleaseFile, digests: tuple[Digest, ...], finding: Finding | None) -> _CheckedFile:
        """Good if its digests or its pieces say so, bad if either denies it, not checked if it has neither."""
        pieces = self._options.pieces
        checked_by = tuple(digest.algorithm for digest in file.digests)
        if pieces is not None and pieces.failed:
            if finding is None and not checked_by:
                return _CheckedFile(FileResult(file.path, file.size, FileState.UNREADABLE, detail=pieces.failed))
            pieces = None
        if pieces is not None and file.path not in pieces.damaged:
            checked_by += (PIECES,)
        if finding is None and not checked_by and pieces is not None:
            self._read_to_the_end(file)  # or else the disk may be to blame, and not the bytes
            finding = Finding(FileFault.WRONG_DIGEST, file.path, "has pieces that are not those of the torrent")
        if finding is not None:
            bad = FileResult(file.path, file.size, FileState.BAD, digest=_best_of(digests))
            return _CheckedFile(bad, finding, digests)
        paths = self._paths_of(file)
        result = FileResult(
            path=file.path,
            size=sum(map(size_on_disk, paths)),
            state=FileState.GOOD if checked_by else FileState.NOT_CHECKED,
            checked_by=checked_by,
            detail=f"in {len(paths)} parts" if len(paths) > 1 else "",
            weak=_is_weak(checked_by, self._manifest),
            digest=_best_of(digests),
        )
        return _CheckedFile(result)

    def _read_to_the_end(self, file: ReleaseFile) -> None:
        """Raises ``DiskError`` if the disk does not give the whole file."""
        digest_parts(self._paths_of(file), (), self._end_if_stopped, cores_are_full=True)

    def _recall(self, file: ReleaseFile, statuses: Sequence[os.stat_result]) -> FileResult | None:
        """What the index says of a file that has not changed since an earlier run; None if it says nothing."""
        if self._options.index is None or len(statuses) != 1:
            return None
        day = self._options.index.recall(file.path, statuses[0], proofs_of(file, self._manifest))
        if day is None:
            return None
        checked_by = tuple(digest.algorithm for digest in file.digests) or (PIECES,)
        return FileResult(
            path=file.path,
            size=statuses[0].st_size,
            state=FileState.UNCHANGED,
            checked_by=checked_by,
            detail=f"read on {day}",
            weak=_is_weak(checked_by, self._manifest),
        )

    def _note(self, file: ReleaseFile, statuses: Sequence[os.stat_result], state: FileState) -> None:
        """Note a good file in the index; files in parts are not noted."""
        index = self._options.index
        if index is None:
            return
        if state is FileState.GOOD and len(statuses) == 1:
            index.note(file.path, statuses[0], proofs_of(file, self._manifest))
        else:
            index.forget(file.path)

    def _paths_of(self, file: ReleaseFile) -> Sequence[Path]:
        return self._options.parts.get(file.path) or (self._folder / file.path,)

    def _end_if_stopped(self, _count: int) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _report_progress(self, count: int) -> None:
        self._end_if_stopped(count)
        self._emit(Moved(Step.VERIFY, count))


def _not_checked(file: ReleaseFile) -> _CheckedFile:
    return _CheckedFile(FileResult(file.path, file.size, FileState.NOT_CHECKED))


def _list_others(
    folder: Path, choice: ChosenManifest, parts: Mapping[str, Sequence[Path]]
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Paths of the files that the release does not have, of Magnetar's own notes, and of folders that cannot be read.

    Nothing that is there is passed over: not what is hidden, and not what lies in state folders.
    """
    listed = {file.path for file in choice.manifest.files or ()}
    listed |= {part.relative_to(folder).as_posix() for pieces in parts.values() for part in pieces}
    unreadable: list[str] = []
    others = [path for path in every_path(folder, unreadable.append) if path not in listed]
    notes = {path: None for path in others if is_own_state(path) or _is_the_manifest(folder, path, choice)}
    return tuple(path for path in others if path not in notes), tuple(notes), unreadable


def _is_the_manifest(folder: Path, path: str, choice: ChosenManifest) -> bool:
    """Whether a file is the manifest that the folder is held against, or one that says the same."""
    if path != OWN_MANIFEST:
        return False
    if choice.path is not None and choice.path.resolve() == (folder / path).resolve():
        return True
    try:
        return load_manifest(folder / path) == choice.manifest
    except ManifestError:
        return False


def _check_entries(paths: Sequence[Path], file: ReleaseFile) -> tuple[list[os.stat_result], Finding | None]:
    """Check what the directory entries alone show. A link is followed: a cache of blobs holds weights that way."""
    statuses: list[os.stat_result] = []
    for path in paths:
        try:
            if S_ISLNK(path.lstat().st_mode) and not _leads_somewhere(path):
                return [], Finding(FileFault.NOT_A_FILE, file.path, "is a link that leads to no file")
            statuses.append(path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return [], Finding(FileFault.MISSING, file.path, "there is no such file")
        except OSError as error:
            raise DiskError(f"{path}: cannot be looked at: {error.strerror or error}", path=path) from error
        if not S_ISREG(statuses[-1].st_mode):
            return [], Finding(FileFault.NOT_A_FILE, file.path, "is not a regular file")
    return statuses, _check_size(sum(status.st_size for status in statuses), file)


def _leads_somewhere(link: Path) -> bool:
    """Whether something is at the end of a link. Raises ``OSError`` where the system does not tell."""
    try:
        link.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def _check_size(size: int, file: ReleaseFile) -> Finding | None:
    if file.size is None or size == file.size:
        return None
    lacking = file.size - size
    if lacking > 0:
        detail = f"has {size:,} of {file.size:,} bytes: {lacking:,} are missing"
        return Finding(FileFault.TRUNCATED, file.path, detail)
    return Finding(FileFault.GROWN, file.path, f"has {size:,} bytes, not {file.size:,}: {-lacking:,} too many")


def _stamp_of(path: Path) -> Stamp | None:
    try:
        return stamp(path.stat())
    except OSError:  # it was removed
        return None


def _best_of(digests: Sequence[Digest]) -> str:
    """SHA-256, which most programs know, before any other that is strong."""
    strong = sorted((digest for digest in digests if not digest.weak), key=lambda digest: digest.algorithm != "sha256")
    return str(strong[0]) if strong else ""


def _is_weak(checked_by: Collection[str], manifest: Manifest) -> bool:
    """Whether nothing better than MD5 or SHA-1 checked a file; the pieces of a version 1 torrent are SHA-1 too."""
    strong = (HEX_LENGTHS.keys() - WEAK) | ({PIECES} if manifest.infohash_v2 else set())
    return bool(checked_by) and not strong.intersection(checked_by)
