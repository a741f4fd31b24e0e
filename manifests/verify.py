"""Hold a folder against a manifest. Read-only; everything that is wrong is found in one go."""

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from stat import S_ISREG

from magnetar.errors import DiskError, ExitCode, UsageError
from magnetar.events import Began, Emit, Ended, FoundWrong, Moved, ignore
from magnetar.files import STATE_FOLDER
from magnetar.manifests.choice import OWN_MANIFEST, Choice, Trust
from magnetar.manifests.digests import digest_file
from magnetar.manifests.schema import ReleaseFile

STEP = "verify"
PIECES = "pieces"
"""What stands in for a digest's name where every piece was checked against a pinned infohash."""


class Verdict(StrEnum):
    """What is known of one file. There is no fourth: what was not checked is not good."""

    GOOD = "good"
    BAD = "bad"
    NOT_CHECKED = "not checked"


class Kind(StrEnum):
    """Everything that can be wrong with one file."""

    MISSING = "missing"
    NOT_A_FILE = "not-a-file"
    WRONG_SIZE = "wrong-size"
    WRONG_DIGEST = "wrong-digest"
    UNREADABLE = "unreadable"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with one file, in words that name the numbers."""

    kind: Kind
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file of the release: the verdict, and the algorithms (or ``pieces``) that it rests on."""

    path: str
    size: int | None
    verdict: Verdict
    checked_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PieceCheck:
    """Every piece of the torrent was just hashed: the paths of the files that a bad or absent piece touches.

    In a version 1 torrent a piece spans files, so that a good file may be named for its neighbour's sake.
    """

    damaged: frozenset[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What verification found. ``unexpected`` files are told, but not held against the folder."""

    folder: str
    release: str
    reason: str
    trust: Trust
    files: tuple[FileResult, ...]
    findings: tuple[Finding, ...]
    unexpected: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 where all is good, 5 where something is wrong, 8 where not all could be checked."""
        if self.findings:
            return ExitCode.WRONG_BYTES
        complete = self.files and all(file.verdict is Verdict.GOOD for file in self.files)
        return ExitCode.GOOD if complete else ExitCode.NOT_ALL_CHECKED


def verify(
    folder: Path,
    choice: Choice,
    *,
    pieces: PieceCheck | None = None,
    strict: bool = False,
    emit: Emit = ignore,
) -> Report:
    """Hold every file of ``folder`` against the chosen manifest: sizes first, then digests, on all cores.

    ``pieces`` is given where the pieces were just checked against the manifest's own infohash: it decides on the
    files that have no digest. ``strict`` makes a finding of each file that the release does not have.
    Raises ``UsageError`` if there is no such folder; whatever is wrong inside it is in the report.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    expected = choice.manifest.files or ()
    emit(Began(STEP, sum(_size_on_disk(folder / file.path) for file in expected if file.digests)))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        checks = list(pool.map(lambda file: _check(folder, file, pieces, emit), expected))
    unexpected = tuple(_unexpected(folder, {file.path for file in expected})) if expected else ()
    findings = [finding for _, finding in checks if finding]
    if strict:
        findings += [Finding(Kind.UNEXPECTED, path, "the release has no such file") for path in unexpected]
    emit(Ended(STEP))
    results = tuple(result for result, _ in checks)
    return Report(
        folder=str(folder),
        release=choice.manifest.name,
        reason=choice.reason,
        trust=_trust(choice, results),
        files=results,
        findings=tuple(findings),
        unexpected=unexpected,
    )


def _check(folder: Path, file: ReleaseFile, pieces: PieceCheck | None, emit: Emit) -> tuple[FileResult, Finding | None]:
    """One file: what is known of it, and what is wrong with it."""
    path = folder / file.path
    checked_by = tuple(digest.algorithm for digest in file.digests)
    if pieces is not None and file.path not in pieces.damaged:
        checked_by += (PIECES,)
    try:
        finding = _wrong_at_a_glance(path, file)
        if finding is None and file.digests:
            finding = _wrong_digest(path, file, emit)
    except DiskError as error:
        finding = Finding(Kind.UNREADABLE, file.path, error.message)
    if finding is None and not checked_by and pieces is not None:
        finding = Finding(Kind.WRONG_DIGEST, file.path, "has pieces that are not those of the torrent")
    if finding is not None:
        return FileResult(file.path, file.size, Verdict.BAD), finding
    verdict = Verdict.GOOD if checked_by else Verdict.NOT_CHECKED
    return FileResult(file.path, _size_on_disk(path), verdict, checked_by), None


def _wrong_at_a_glance(path: Path, file: ReleaseFile) -> Finding | None:
    """What the directory entry alone shows. A link is not followed: it may lead out of the folder."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return Finding(Kind.MISSING, file.path, "there is no such file")
    except OSError as error:
        return Finding(Kind.UNREADABLE, file.path, error.strerror or str(error))
    if path.is_symlink():
        return _linked(path, file)
    if not S_ISREG(status.st_mode):
        return Finding(Kind.NOT_A_FILE, file.path, "is not a regular file")
    return _wrong_size(file, status.st_size)


def _linked(path: Path, file: ReleaseFile) -> Finding | None:
    """A link is followed if it ends at a regular file: a cache of blobs holds weights that way."""
    if not path.is_file():
        return Finding(Kind.NOT_A_FILE, file.path, "is a link that leads to no file")
    return _wrong_size(file, path.stat().st_size)


def _wrong_size(file: ReleaseFile, size: int) -> Finding | None:
    if file.size is None or size == file.size:
        return None
    off = file.size - size
    words = f"{off:,} are missing" if off > 0 else f"{-off:,} too many"
    return Finding(Kind.WRONG_SIZE, file.path, f"has {size:,} bytes, not {file.size:,}: {words}")


def _wrong_digest(path: Path, file: ReleaseFile, emit: Emit) -> Finding | None:
    """Read the whole file and compare. What took that long to find is told at once, not only in the report."""
    found = digest_file(path, [digest.algorithm for digest in file.digests], lambda count: emit(Moved(STEP, count)))
    for expected, actual in zip(file.digests, found, strict=True):
        if expected != actual:
            finding = Finding(Kind.WRONG_DIGEST, file.path, f"has {actual}, not {expected}")
            emit(FoundWrong(finding.kind, finding.path, finding.detail))
            return finding
    return None


def _size_on_disk(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _unexpected(folder: Path, expected: Collection[str]) -> Iterator[str]:
    """Files that the release does not have, in order; hidden state folders are not payload."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (STATE_FOLDER, ".git"))
        for name in sorted(names):
            path = (Path(root) / name).relative_to(folder).as_posix()
            if path not in expected and path != OWN_MANIFEST:
                yield path


def _trust(choice: Choice, results: tuple[FileResult, ...]) -> Trust:
    """Weak where a file rests on nothing but MD5 or SHA-1, the pieces of a v1 torrent included."""
    strong = {"sha256"} | ({PIECES} if choice.manifest.infohash_v2 else set())
    rests = [set(result.checked_by) for result in results if result.verdict is Verdict.GOOD]
    return Trust.WEAK if any(not algorithms & strong for algorithms in rests) else choice.trust
