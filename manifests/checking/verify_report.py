"""The report of a verification: frozen values. The caller decides what follows from them."""

from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Finding, Outcome, Question
from magnetar.manifests.checking.choose_manifest import Trust

PIECES = "pieces"
"""Listed among the algorithms of a file whose torrent pieces were checked against a pinned infohash."""


class FileState(StrEnum):
    """What is known of one file. A file that was not read in this run is never called good."""

    GOOD = "good"
    BAD = "bad"
    UNCHANGED = "unchanged"
    """An earlier run read it and found it good. Its size, time of change and inode have not changed since."""
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


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file of the release, its ``size`` in bytes, its state, and what proved it: algorithms, or ``pieces``.

    ``detail`` adds in words: that the file lies in parts, when it was read, how much of it has arrived, or why it could
    not be read.
    """

    path: str
    size: int | None
    state: FileState
    checked_by: tuple[str, ...] = ()
    detail: str = ""


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
    """

    damaged: frozenset[str]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    ``release`` is the name of the manifest, and ``reason`` says in words why it was chosen. ``unexpected`` files are
    findings only if the verification was strict. ``damage`` says where files are damaged, if a torrent's pieces tell.
    ``unreadable_folders`` are the paths of folders below the root that could not be listed, so that nothing is known of
    what is in them.
    """

    folder: str
    release: str
    reason: str
    trust: Trust
    files: tuple[FileResult, ...]
    findings: tuple[Finding, ...]
    unexpected: tuple[str, ...]
    damage: tuple[FileDamage, ...] = ()
    unreadable_folders: tuple[str, ...] = ()

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """Bad if there is a finding; else failed if a file or a folder could not be read.

        Else good if every file is good or unchanged, and unknown if some were not checked.
        """
        if self.findings:
            return Outcome.BAD
        if self.unreadable_folders or any(file.state is FileState.UNREADABLE for file in self.files):
            return Outcome.FAILED
        complete = self.files and all(file.state in (FileState.GOOD, FileState.UNCHANGED) for file in self.files)
        return Outcome.GOOD if complete else Outcome.UNKNOWN
