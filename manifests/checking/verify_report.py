"""The report of a verification: frozen values. The caller decides what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Finding, Outcome, Question
from magnetar.manifests.checking.ledger import Ledger, Means, Row, RowState, Subject, Verdict, Voucher
from magnetar.manifests.folder.loadable import may_be_loaded

PIECES = "pieces"
"""Listed among the algorithms of a file whose torrent pieces were checked against a pinned infohash."""


class FileState(StrEnum):
    """What is known of one file. A file that was not read in this run is never called good."""

    GOOD = "good"
    BAD = "bad"
    UNCHANGED = "unchanged"
    """An earlier run read it and found it good. Its stamp (size, mtime, ctime, inode, device) is the same."""
    NOT_CHECKED = "not checked"
    UNREADABLE = "unreadable"
    """The disk, or the system, did not give its bytes: nothing is known of them."""


class FileFault(StrEnum):
    """Everything that can be wrong with one file: the ``kind`` of each finding in a ``VerifyReport``."""

    MISSING = "missing"
    CASE_CHANGED = "case-changed"
    RENAMED = "renamed"
    NOT_A_FILE = "not-a-file"
    TRUNCATED = "truncated"
    GROWN = "grown"
    ZERO_FILLED = "zero-filled"
    SWAPPED = "swapped"
    LFS_POINTER = "lfs-pointer"
    ERROR_PAGE = "error-page"
    """A server answered with it instead of the file."""
    WRONG_DIGEST = "wrong-digest"
    CHANGED_WHILE_READ = "changed-while-read"
    UNEXPECTED = "unexpected"
    NOT_ARRIVED = "not-arrived"
    """In a folder whose note says that a download goes on: pieces of it were never written."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file of the release, its ``size`` in bytes, its state, and what proved it: algorithms, or ``pieces``.

    ``weak``: nothing better than MD5 or SHA-1 proved it. ``detail`` adds in words: that the file lies in parts, when it
    was read, how much of it has arrived, or why it could not be read. ``digest`` is the best of those that were
    computed; empty if none was.
    """

    path: str
    size: int | None
    state: FileState
    checked_by: tuple[str, ...] = ()
    detail: str = ""
    weak: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class TensorDamage:
    """A tensor: ``damaged`` of its ``nbytes`` bytes lie in damaged pieces. ``name`` is its name in the file."""

    name: str
    damaged: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileDamage:
    """Where a file differs from that of the torrent.

    ``pieces`` are the indices of the damaged pieces in the torrent; ``ranges`` the parts of the file that lie in them,
    as offsets and lengths in bytes; ``damaged`` is the sum of these lengths. ``notes`` say what is not known, or only
    guessed, about the tensors.
    """

    path: str
    damaged: int
    ranges: tuple[tuple[int, int], ...]
    pieces: tuple[int, ...]
    tensors: tuple[TensorDamage, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PieceCheck:
    """Every piece of the torrent was just hashed: ``damaged`` has each file that a bad or missing piece touches.

    A piece of a version 1 torrent can span files, so a good file may be listed because its neighbour is damaged.
    ``failed`` says why the pieces could not be hashed; then nothing is known of any.
    """

    damaged: frozenset[str]
    failed: str = ""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    ``release`` is the name of the manifest, ``reason`` says in words why it was chosen, and ``voucher`` by whose word
    it holds. ``unexpected`` are all files that the release does not have, hidden ones too; they are findings only if
    the verification was strict. ``notes`` are files in which Magnetar itself keeps something beside the release.
    ``unreadable_folders`` are folders below the root that could not be listed. ``damage`` says where files are damaged,
    if a torrent's pieces tell. ``manifest_digest`` is the SHA-256 of the manifest's file; empty if it lies in none.
    """

    folder: str
    release: str
    reason: str
    voucher: Voucher
    files: tuple[FileResult, ...]
    findings: tuple[Finding, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...] = ()
    damage: tuple[FileDamage, ...] = ()
    unreadable_folders: tuple[str, ...] = ()
    manifest_digest: str = ""

    question = Question.BYTES

    @property
    def ledger(self) -> Ledger:
        """A row for every file that the release has, and for every other that is in the folder."""
        faults = {finding.subject: finding.detail for finding in self.findings}
        rows = [_row_of(file, self.voucher, faults) for file in self.files]
        rows += [_row_beside(path, faults.get(path)) for path in self.unexpected]
        rows += [_row(path, RowState.NOT_CHECKED, "a note that Magnetar keeps", loadable=False) for path in self.notes]
        rows += [_row(path, RowState.UNREADABLE, "is a folder that cannot be read") for path in self.unreadable_folders]
        known = {row.name for row in rows}
        rows += [_row(path, RowState.WRONG, detail) for path, detail in faults.items() if path not in known]
        return Ledger(tuple(rows))

    @property
    def outcome(self) -> Outcome:
        """That of the ledger."""
        return self.ledger.outcome

    @property
    def verdict(self) -> Verdict:
        """That of the ledger."""
        return self.ledger.verdict


STATES = {
    FileState.GOOD: RowState.PROVEN,
    FileState.BAD: RowState.WRONG,
    FileState.UNCHANGED: RowState.UNCHANGED,
    FileState.NOT_CHECKED: RowState.NOT_CHECKED,
    FileState.UNREADABLE: RowState.UNREADABLE,
}


def _row_of(file: FileResult, voucher: Voucher, faults: Mapping[str, str]) -> Row:
    state = STATES[file.state]
    proven = state in (RowState.PROVEN, RowState.UNCHANGED)
    unchecked = "neither a digest nor a torrent's pieces say what it should be"
    return Row(
        subject=Subject.FILE,
        name=file.path,
        file=file.path,
        state=state,
        loadable=may_be_loaded(file.path),
        size=file.size,
        means=(Means.PIECES if set(file.checked_by) == {PIECES} else Means.FILE_DIGEST) if proven else None,
        voucher=voucher if proven else None,
        weak=file.weak,
        digest=file.digest,
        detail=faults.get(file.path, file.detail or ("" if proven else unchecked)),
    )


def _row_beside(path: str, fault: str | None) -> Row:
    detail = "the release has no such file"
    return _row(path, RowState.WRONG if fault else RowState.NOT_CHECKED, fault or detail, loadable=may_be_loaded(path))


def _row(path: str, state: RowState, detail: str, *, loadable: bool = True) -> Row:
    return Row(subject=Subject.FILE, name=path, file=path, state=state, loadable=loadable, detail=detail)
