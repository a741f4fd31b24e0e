"""The levels of a boot, cheapest first, and what one of them found. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Finding, Outcome


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


@dataclass(frozen=True, slots=True)
class LevelResult:
    """What one level came to. ``remark`` says what was looked at, or why the level was skipped: its outcome is unknown.

    A finding's subject is a tensor, spelled as the publisher spells it, or a layer.
    """

    name: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    remark: str = ""


def judge(level: Level, findings: Iterable[Finding], remark: str) -> LevelResult:
    """Bad with any finding, good without."""
    found = tuple(findings)
    return LevelResult(level.value, Outcome.BAD if found else Outcome.GOOD, found, remark)


def skip(level: Level, reason: str, findings: Iterable[Finding] = ()) -> LevelResult:
    """A level that was not tried. ``findings`` say what is missing, where that is itself a fault."""
    return LevelResult(level.value, Outcome.UNKNOWN, tuple(findings), reason)
