"""What the parts report while they work: facts, as frozen values that hold primitives only.

A function that takes long has ``emit: Emit = ignore`` as its last parameter. It emits what happened since the last
event. Totals, rates, time left and throttling are the business of whoever shows the events.

A fact that a program may act on is an event of its own. ``Remarked`` is for people: its text may change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from magnetar.findings import Finding

Unit = Literal["B", "tensors", "layers", "tokens", "files"]


class Step(StrEnum):
    """A piece of work that takes long enough to have a progress bar."""

    METADATA = "metadata"
    """Wait for a peer that sends the torrent's metadata."""
    CHECK = "check"
    """Hash what is on the disk already."""
    COPY = "copy"
    """Copy whole files from folders that the user offered."""
    ADOPT = "adopt"
    """Copy the good pieces of files that the user offered."""
    DOWNLOAD = "download"
    """Receive pieces from peers and mirrors."""
    LOCATE = "locate"
    """Hash the pieces of damaged files."""
    MEND = "mend"
    """Write good pieces over damaged ones."""
    HASH = "hash"
    """Hash files for a new torrent."""
    DIGEST = "digest"
    """Hash files, or tensors, for a manifest."""
    VERIFY = "verify"
    """Hold files against the digests of a manifest."""
    PROVE = "prove"
    """Hold the tensors of a converted copy against the digests of its release."""
    CONVERT = "convert"
    """Read, rearrange and write tensors."""
    COMPARE = "compare"
    """Read two checkpoints, and compare their tensors."""
    EXPLAIN = "explain"
    """Find out how two tensors differ."""
    CONTENT = "content"
    """Look at the numbers of every tensor."""
    BOOT = "boot"
    """Run the model on a text."""
    AGAINST = "against"
    """Ask another runtime about the same text."""
    DIAGNOSIS = "diagnosis"
    """Undo known mistakes, one after another, and run the model each time."""


@dataclass(frozen=True, slots=True)
class Began:
    """A step began. ``total`` is in ``unit``; None where it is not known yet."""

    step: Step
    total: int | None
    unit: Unit = "B"


@dataclass(frozen=True, slots=True)
class Moved:
    """``amount`` more of the step's unit is done since the last event of that step."""

    step: Step
    amount: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A step ended."""

    step: Step


@dataclass(frozen=True, slots=True)
class SwarmSeen:
    """The state of the swarm: connected peers, how many of them are seeds, and known nodes of the DHT.

    ``uploaded`` and ``downloaded`` are bytes of payload so far; ``mirrored`` of those downloaded came from mirrors.
    """

    peers: int
    seeds: int
    dht_nodes: int
    uploaded: int
    downloaded: int = 0
    mirrored: int = 0


@dataclass(frozen=True, slots=True)
class FileSeen:
    """The state of one of several files: ``done`` of its ``total`` bytes are here and proven."""

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
    """Something is wrong with one file or tensor. Bad news is never throttled."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class LinkHealed:
    """A magnet link was damaged, and this was repaired in it."""

    repair: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """An earlier run left ``done`` of ``total`` units of a step, and they are good: they are not done again."""

    step: Step
    done: int
    total: int
    unit: Unit = "B"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A file of the release is taken, wholly or in part, from ``source``, a file that the user offered."""

    path: str
    source: str


@dataclass(frozen=True, slots=True)
class MirrorDropped:
    """A mirror on ``host`` is not asked any more, because of ``reason``.

    ``url`` names the mirror, and with it the file, without queries and passwords.
    """

    host: str
    reason: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class SignerFound:
    """The signature of ``manifest`` was checked: it is by ``signer``, whom the user, or the catalog, named."""

    manifest: str
    signer: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of the work is left out, because of ``reason``. ``hint`` says how to have it done."""

    what: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Remarked:
    """A line for people: an assumption that was made, or a decision that was taken. No program should depend on it."""

    text: str


Event = (
    Began
    | Moved
    | Ended
    | SwarmSeen
    | FileSeen
    | TrackerAnswered
    | FoundWrong
    | LinkHealed
    | Resumed
    | Adopted
    | MirrorDropped
    | SignerFound
    | Skipped
    | Remarked
)
Fact = TrackerAnswered | FoundWrong | LinkHealed | Resumed | Adopted | MirrorDropped | SignerFound | Skipped | Remarked
"""Events that are a line of their own where progress is shown to people."""

Emit = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Emit into nothing: the default of every function that takes an ``Emit``."""


class ProgressStyle(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"
