"""What the parts tell while they work: facts, as frozen values that hold primitives only.

A function that takes long has ``emit: Emit = ignore`` as its last parameter. It emits what happened
since the last event; totals, rates, time left and throttling are the business of whoever shows them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Unit = Literal["B", "tensors", "layers", "tokens", "files"]


@dataclass(frozen=True, slots=True)
class Began:
    """A step began. ``total`` is in ``unit``; None where it is not known yet."""

    step: str
    total: int | None
    unit: Unit = "B"


@dataclass(frozen=True, slots=True)
class Moved:
    """``amount`` more of the step's unit is done since the last event of that step."""

    step: str
    amount: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A step ended."""

    step: str


@dataclass(frozen=True, slots=True)
class SwarmSeen:
    """Who is there: connected peers, how many of them are seeds, nodes of the DHT.

    ``uploaded`` and ``downloaded`` are payload bytes so far; ``mirrored`` of those downloaded came from mirrors.
    """

    peers: int
    seeds: int
    dht_nodes: int
    uploaded: int
    downloaded: int = 0
    mirrored: int = 0


@dataclass(frozen=True, slots=True)
class FileSeen:
    """Where one of several files stands: ``done`` of its ``total`` bytes are here and proven."""

    path: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TrackerAnswered:
    """A tracker answered: with ``peers``, or with ``error``."""

    url: str
    peers: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class FoundWrong:
    """Something is wrong with one file or tensor. Bad news: never throttled."""

    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Remarked:
    """A fact worth a line: a healed link, a resumed download, an assumption that was made."""

    text: str


Event = Began | Moved | Ended | SwarmSeen | FileSeen | TrackerAnswered | FoundWrong | Remarked
Emit = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Emit into nothing: the default of every function that takes an ``Emit``."""


class ProgressStyle(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"
