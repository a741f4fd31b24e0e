"""What verification says: values, so that it is up to the caller what to make of them."""

from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Finding, Outcome, Question
from magnetar.manifests.checking.choose_manifest import Trust

PIECES = "pieces"
"""What stands in for a digest's name where every piece was checked against a pinned infohash."""


class FileState(StrEnum):
    """What is known of one file. What was not read in this run is never called good."""

    GOOD = "good"
    BAD = "bad"
    UNCHANGED = "unchanged"
    """An earlier run read it and found it good, and its size, time of change and inode are what they were then."""
    NOT_CHECKED = "not checked"


class FileFault(StrEnum):
    """Everything that can be wrong with one file, named as what it is: the kinds of the findings in a report."""

    MISSING = "missing"
    CASE_CHANGED = "case-changed"
    RENAMED = "renamed"
    NOT_A_FILE = "not-a-file"
    TRUNCATED = "truncated"
    GROWN = "grown"
    ZERO_FILLED = "zero-filled"
    SWAPPED = "swapped"
    WRONG_DIGEST = "wrong-digest"
    CHANGED_WHILE_READ = "changed-while-read"
    UNREADABLE = "unreadable"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file of the release: its state, and the algorithms (or ``pieces``) that it rests on.

    ``detail`` says in words what else is to know: that it lies in parts, when it was read, how much of it has arrived.
    """

    path: str
    size: int | None
    state: FileState
    checked_by: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TensorDamage:
    """A tensor, by its name in the file, of whose ``nbytes`` there ``damaged`` lie in damaged pieces."""

    name: str
    damaged: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileDamage:
    """Where a file is not that of the torrent: ``pieces`` by their index there, and what they hold of the file.

    ``ranges`` are offsets and lengths in bytes, ``damaged`` their sum. ``notes`` say what cannot be told of the
    tensors, or only guessed.
    """

    path: str
    damaged: int
    ranges: tuple[tuple[int, int], ...]
    pieces: tuple[int, ...]
    tensors: tuple[TensorDamage, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PieceCheck:
    """Every piece of the torrent was just hashed: the paths of the files that a bad or absent piece touches.

    In a version 1 torrent a piece spans files, so that a good file may be named for its neighbour's sake.
    """

    damaged: frozenset[str]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found. ``unexpected`` files are told, but not held against the folder.

    ``damage`` says where damaged files are damaged, as far as a torrent's pieces tell.
    """

    folder: str
    release: str
    reason: str
    trust: Trust
    files: tuple[FileResult, ...]
    findings: tuple[Finding, ...]
    unexpected: tuple[str, ...]
    damage: tuple[FileDamage, ...] = ()

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """Good where all is good or unchanged, bad where something is wrong, unknown where not all could be checked."""
        if self.findings:
            return Outcome.BAD
        complete = self.files and all(file.state in (FileState.GOOD, FileState.UNCHANGED) for file in self.files)
        return Outcome.GOOD if complete else Outcome.UNKNOWN
