"""``--progress json``: one object a line on stderr, for each event of ``magnetar.events``."""

import json
from typing import Literal

from magnetar import events
from magnetar.render.json_shapes.base import FORMAT, Finding, Format, Shape, Text

StepWord = Literal[
    "metadata",
    "check",
    "copy",
    "adopt",
    "download",
    "locate",
    "mend",
    "hash",
    "digest",
    "verify",
    "prove",
    "convert",
    "compare",
    "explain",
    "content",
    "boot",
    "against",
    "diagnosis",
]
UnitWord = Literal["B", "tensors", "layers", "tokens", "files"]


class Began(Shape):
    """A step began. ``total`` is in ``unit``, ``B`` is bytes; it is null where it is not known yet."""

    format: Format = FORMAT
    event: Literal["began"] = "began"
    step: StepWord
    total: int | None
    unit: UnitWord


class Moved(Shape):
    """``amount`` more of the step's unit is done since the last event of that step."""

    format: Format = FORMAT
    event: Literal["moved"] = "moved"
    step: StepWord
    amount: int


class Ended(Shape):
    """A step ended."""

    format: Format = FORMAT
    event: Literal["ended"] = "ended"
    step: StepWord


class SwarmSeen(Shape):
    """The state of the swarm: connected peers, how many are seeds, and known nodes of the DHT.

    ``uploaded`` and ``downloaded`` are bytes of payload so far; ``mirrored`` of those downloaded came from mirrors.
    """

    format: Format = FORMAT
    event: Literal["swarm"] = "swarm"
    peers: int
    seeds: int
    dht_nodes: int
    uploaded: int
    downloaded: int
    mirrored: int


class FileSeen(Shape):
    """``done`` of the ``total`` bytes of a file are here and checked."""

    format: Format = FORMAT
    event: Literal["file"] = "file"
    path: Text
    done: int
    total: int


class TrackerAnswered(Shape):
    """A tracker answered: with so many ``peers``, or with an ``error``, which is empty otherwise."""

    format: Format = FORMAT
    event: Literal["tracker"] = "tracker"
    url: Text
    peers: int
    error: Text


class FoundWrong(Shape):
    """Something is wrong with a file or a tensor. The result has it too."""

    format: Format = FORMAT
    event: Literal["found-wrong"] = "found-wrong"
    finding: Finding


class LinkHealed(Shape):
    """A magnet link was damaged, and this was repaired in it."""

    format: Format = FORMAT
    event: Literal["link-healed"] = "link-healed"
    repair: Text


class Resumed(Shape):
    """An earlier run left ``done`` of the ``total`` units of a step; they are good, and not done again."""

    format: Format = FORMAT
    event: Literal["resumed"] = "resumed"
    step: StepWord
    done: int
    total: int
    unit: UnitWord


class Adopted(Shape):
    """The file ``path`` of the release is taken, wholly or in part, from the file ``source``."""

    format: Format = FORMAT
    event: Literal["adopted"] = "adopted"
    path: Text
    source: Text


class MirrorDropped(Shape):
    """The mirror ``url`` on ``host`` is not asked any more. ``url`` is without queries and passwords."""

    format: Format = FORMAT
    event: Literal["mirror-dropped"] = "mirror-dropped"
    host: Text
    url: Text
    reason: Text


class SignerFound(Shape):
    """The signature of ``manifest`` was checked: it is by ``signer``."""

    format: Format = FORMAT
    event: Literal["signer-found"] = "signer-found"
    manifest: Text
    signer: Text


class Skipped(Shape):
    """A part of the work is left out. ``hint`` says how to have it done, and may be empty."""

    format: Format = FORMAT
    event: Literal["skipped"] = "skipped"
    what: Text
    reason: Text
    hint: Text


class Remarked(Shape):
    """A line for people. Its text may change; no program should depend on it."""

    format: Format = FORMAT
    event: Literal["remark"] = "remark"
    text: Text


Line = (
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
SHAPES: dict[type[events.Event], type[Shape]] = {
    events.Began: Began,
    events.Moved: Moved,
    events.Ended: Ended,
    events.SwarmSeen: SwarmSeen,
    events.FileSeen: FileSeen,
    events.TrackerAnswered: TrackerAnswered,
    events.FoundWrong: FoundWrong,
    events.LinkHealed: LinkHealed,
    events.Resumed: Resumed,
    events.Adopted: Adopted,
    events.MirrorDropped: MirrorDropped,
    events.SignerFound: SignerFound,
    events.Skipped: Skipped,
    events.Remarked: Remarked,
}


def event_line(event: events.Event) -> str:
    """The event as one line of JSON, without the line's end."""
    return json.dumps(SHAPES[type(event)].model_validate(event).model_dump(mode="json"))
