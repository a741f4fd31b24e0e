"""The levels of a boot, the cheapest first, and the verdict on one of them. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Finding, Outcome


class Level(StrEnum):
    """What can be tested about a checkpoint, in the order in which it is reported."""

    STRUCTURE = "structure"
    """Names, shapes and dtypes; no two tensors in the same bytes, no bytes of no tensor. No tensor is read."""
    CONTENT = "content"
    """The numbers of every tensor: finite, not empty, not those of another tensor, as large as their siblings."""
    FORWARD = "forward"
    """The model run on a text: bits per byte, the load of the experts, decoding against one full pass."""
    GOLDEN = "golden"
    """The run held against the fingerprint of the release."""


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The verdict on one level.

    ``outcome`` is unknown for a level that was skipped; people are shown the word "skipped" for it. ``remark`` says
    what was looked at, or why the level was skipped. The subject of a finding is a tensor, spelled as the publisher
    spells it, or a layer.
    """

    name: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    remark: str = ""


def conclude(level: Level, findings: Iterable[Finding], remark: str) -> LevelResult:
    """The verdict on a level that was tested: bad with any finding, good without."""
    found = tuple(findings)
    return LevelResult(level.value, Outcome.BAD if found else Outcome.GOOD, found, remark)


def skip(level: Level, reason: str, findings: Iterable[Finding] = ()) -> LevelResult:
    """The verdict on a level that was not tested. ``findings`` say what is missing, where that is itself a fault."""
    return LevelResult(level.value, Outcome.UNKNOWN, tuple(findings), reason)
