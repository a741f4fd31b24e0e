"""The levels of a boot, cheapest first, and what one of them found. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What can be asked of a checkpoint, in the order in which it is asked."""

    STRUCTURE = "structure"
    """Names, shapes and dtypes; no two tensors in the same bytes, no bytes of no tensor. Nothing is read."""
    CONTENT = "content"
    """The numbers of every tensor: finite, not empty, not those of another tensor, as large as their siblings."""
    FORWARD = "forward"
    """The model run on a text: bits per byte, the experts' load, decoding against one full pass."""
    GOLDEN = "golden"
    """The run held against the fingerprint of the release."""


class Verdict(StrEnum):
    """What a level came to. Skipped is not good."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its ``kind`` in a word, the tensor (or layer) that it is about, and the numbers.

    ``tensor`` is spelled as the publisher spells it, whatever layout the file is in; ``stored_as`` is its name there.
    """

    kind: str
    tensor: str
    detail: str
    stored_as: str = ""

    def __str__(self) -> str:
        return f"{self.tensor}: {self.detail}" if self.tensor else self.detail


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One level's verdict. ``remark`` says what was looked at, or why it was skipped."""

    name: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    remark: str = ""


def judge(level: Level, findings: Iterable[Finding], remark: str) -> LevelResult:
    """Bad with any finding, good without."""
    found = tuple(findings)
    return LevelResult(level.value, Verdict.BAD if found else Verdict.GOOD, found, remark)


def skip(level: Level, reason: str, findings: Iterable[Finding] = ()) -> LevelResult:
    """A level that was not tried. ``findings`` say what is missing, where that is itself a fault."""
    return LevelResult(level.value, Verdict.SKIPPED, tuple(findings), reason)
