"""The second level: the numbers of every tensor, looked at in one pass over its bytes. numpy, no torch.

Nothing here knows what a number should be, only what no trained weight is: not a number, infinite, all alike, the same
as another tensor's, a run of zeros, or far from the size of the same matrix in other layers.
"""

import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.numbers.recode import decode
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.findings import Finding
from magnetar.model.checks.levels import Level, LevelResult, judge
from magnetar.model.run.weights import RUNNABLE, Buffer, Weights, describe_role

CHUNK = 1 << 18
"""Numbers looked at together: 1 MiB as float32, which stays in a core's cache."""

LARGEST_HALF = 65504.0
"""The largest 16-bit float. No weight of a trained model is near it, and llama.cpp and others narrow to it."""

LONGEST_ZEROS = 256
"""Zeros in a row that training never leaves behind; a lost block of 512 bytes is as many in a 16-bit format."""

OUTLIER_SCORE, OUTLIER_RATIO = 12.0, 3.0
"""A tensor's rms is odd beyond this many robust deviations of its siblings' and this many times their median."""

LEAST_SIBLINGS = 4
SPREAD_FLOOR = 0.02
"""Least robust deviation of log rms that is believed: siblings closer than 2 % do not make a third one odd."""

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What one read of a tensor tells. ``row`` is how many numbers a row has, ``digest`` the SHA-256 of its
    bytes, in the publisher's arrangement.

    ``zero_run`` is the longest run of zeros that does not reach the end of the tensor, ``zero_tail`` the one that does.
    """

    name: str
    size: int
    row: int
    digest: str
    nan: int
    infinite: int
    zeros: int
    zero_run: int
    zero_tail: int
    smallest: float
    largest: float
    rms: float

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return not (self.nan or self.infinite)

    @property
    def constant(self) -> bool:
        """Whether all numbers are the same."""
        return self.smallest == self.largest


class Tally:
    """The facts of one tensor, added up chunk by chunk."""

    def __init__(self) -> None:
        self.nan = self.infinite = self.zeros = self.zero_run = self.zero_tail = 0
        self.squares, self.smallest, self.largest = 0.0, math.inf, -math.inf

    def add(self, numbers: Numbers) -> None:
        """Add the next numbers [n], as floats."""
        low, high = float(numbers.min()), float(numbers.max())  # a NaN comes through both
        if not (math.isfinite(low) and math.isfinite(high)):
            self.nan += int(np.count_nonzero(np.isnan(numbers)))
            self.infinite += int(np.count_nonzero(np.isinf(numbers)))
            numbers = np.where(np.isfinite(numbers), numbers, 1.0)
            low, high = float(numbers.min()), float(numbers.max())
        self.smallest, self.largest = min(self.smallest, low), max(self.largest, high)
        wide = numbers.astype(np.float64) if max(-low, high) > LARGEST_HALF else numbers
        self.squares += float(np.dot(wide, wide))
        self._add_zeros(numbers)

    def _add_zeros(self, numbers: Numbers) -> None:
        zeros = len(numbers) - int(np.count_nonzero(numbers))
        self.zeros += zeros
        if zeros == 0:  # nearly always; where the others lie takes ten times as long to find
            self.zero_run, self.zero_tail = max(self.zero_run, self.zero_tail), 0
            return
        if zeros == len(numbers):
            self.zero_tail += zeros
            return
        others = np.flatnonzero(numbers)
        inside = int(np.diff(others).max()) - 1 if len(others) > 1 else 0
        self.zero_run = max(self.zero_run, self.zero_tail + int(others[0]), inside)
        self.zero_tail = len(numbers) - 1 - int(others[-1])


class Survey:
    """The facts of every tensor that was met, by name. ``look`` may be called from the thread that reads."""

    def __init__(self) -> None:
        self.facts: dict[str, TensorFacts] = {}

    def look(self, spec: TensorSpec, content: Buffer) -> None:
        """Take down the facts of one tensor from its bytes."""
        if spec.dtype in RUNNABLE:
            self.facts[spec.name] = measure(spec, content)


def measure(spec: TensorSpec, content: Buffer) -> TensorFacts:
    """The facts of a tensor of a float dtype that holds at least one number."""
    size = math.prod(spec.shape)
    step = CHUNK * (len(content) // size)
    tally = Tally()
    view = memoryview(content)
    for start in range(0, len(content), step):
        tally.add(decode(view[start : start + step], spec.dtype))
    return TensorFacts(
        spec.name,
        size,
        spec.shape[-1] if spec.shape else 1,
        hashlib.sha256(content).hexdigest(),
        tally.nan,
        tally.infinite,
        tally.zeros,
        tally.zero_run,
        tally.zero_tail,
        tally.smallest,
        tally.largest,
        math.sqrt(tally.squares / size),
    )


def survey(weights: Weights, found: Survey, emit: Emit = ignore) -> None:
    """Read every tensor that ``found`` has not met yet, one at a time. Raises ``CheckpointError`` or ``DiskError``."""
    todo = [spec for spec in weights.specs.values() if spec.dtype in RUNNABLE and spec.name not in found.facts]
    if not todo:
        return
    emit(Began(Step.CONTENT, sum(spec.nbytes for spec in todo)))
    for spec in todo:
        found.look(spec, weights.read(spec.name))
        emit(Moved(Step.CONTENT, spec.nbytes))
    emit(Ended(Step.CONTENT))


def digest_weights(found: Survey, names: Iterable[str]) -> str:
    """A SHA-256 over a line for each of ``names``, sorted: it and the digest of its bytes; empty if one was not met."""
    lines = [f"{name} {found.facts[name].digest}\n" for name in sorted(names) if name in found.facts]
    whole = bool(lines) and len(lines) == len(set(names))
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}" if whole else ""


def check_content(found: Survey, architecture: Architecture | None, stored: Mapping[str, str]) -> LevelResult:
    """Judge the numbers of the tensors that were met. ``stored`` gives the file's own names for the findings.

    ``architecture`` is None where it is of no known family, or not whole.
    """
    facts = [found.facts[name] for name in stored if name in found.facts]
    faults = [fault for fact in facts for fault in _judge_alone(fact, architecture)]
    faults += [*_find_copies(facts), *_find_outliers(facts, architecture)]
    order = {fact.name: index for index, fact in enumerate(facts)}
    faults.sort(key=lambda fault: order[fault.subject])
    named = [Finding(f.kind, f.subject, f.detail, _other_name(f.subject, stored)) for f in faults]
    size = sum(fact.size for fact in facts)
    return judge(Level.CONTENT, named, f"{len(facts)} tensors, {size:,} numbers, each digested")


def _other_name(name: str, stored: Mapping[str, str]) -> str:
    return "" if stored.get(name, name) == name else stored[name]


def _judge_alone(fact: TensorFacts, architecture: Architecture | None) -> Iterator[Finding]:
    """What is wrong with a tensor whatever the others are; the most telling thing only."""
    if fact.nan:
        yield Finding("nan", fact.name, f"{fact.nan:,} of its {fact.size:,} numbers are not numbers")
    elif fact.infinite:
        yield Finding("infinite", fact.name, f"{fact.infinite:,} of its {fact.size:,} numbers are infinite")
    elif fact.zeros == fact.size:
        yield Finding("all-zero", fact.name, "holds nothing but zeros")
    elif fact.constant and fact.size > 1:
        yield Finding("constant", fact.name, f"all its {fact.size:,} numbers are {fact.largest:g}")
    elif max(-fact.smallest, fact.largest) > LARGEST_HALF:
        peak = max(-fact.smallest, fact.largest)
        yield Finding("overflow", fact.name, f"holds {peak:g}, more than the largest 16-bit float")
    if fact.zeros < fact.size and (run := _telling_zeros(fact, architecture)):
        yield Finding("zero-run", fact.name, f"{run:,} zeros lie in a row in it")


def _telling_zeros(fact: TensorFacts, architecture: Architecture | None) -> int:
    """The longest run of zeros that training does not explain; 0 if there is none.

    Pieces that no text had keep rows of zeros in embedding and output: single ones, and any number at the end.
    """
    by_piece = describe_role(fact.name, architecture) in ("tok_embeddings", "output")
    allowed = fact.row + LONGEST_ZEROS if by_piece else LONGEST_ZEROS
    run = fact.zero_run if by_piece else max(fact.zero_run, fact.zero_tail)
    return run if run >= allowed else 0


def _find_copies(facts: Iterable[TensorFacts]) -> Iterator[Finding]:
    """Tensors with the bytes of an earlier one: a duplicated layer or expert, or a head tied to the embedding."""
    first: dict[str, str] = {}
    for fact in facts:
        if fact.constant:
            continue  # said already, and equal for that reason alone
        other = first.setdefault(fact.digest, fact.name)
        if other != fact.name:
            tied = {fact.name, other} == {"tok_embeddings.weight", "output.weight"}
            yield Finding("tied" if tied else "duplicate", fact.name, f"has the very bytes of {other}")


def _find_outliers(facts: Iterable[TensorFacts], architecture: Architecture | None) -> Iterator[Finding]:
    """Tensors whose rms is far from that of their role in other layers and experts.

    The score is the modified z-score of log rms (Iglewicz and Hoaglin, 1993): the distance from the median over
    1.4826 times the median distance.
    """
    roles: dict[str, list[TensorFacts]] = {}
    for fact in facts:
        if fact.finite and fact.rms > 0:
            roles.setdefault(describe_role(fact.name, architecture), []).append(fact)
    for role, siblings in roles.items():
        if len(siblings) < LEAST_SIBLINGS:
            continue
        logs = [math.log(fact.rms) for fact in siblings]
        middle = statistics.median(logs)
        spread = max(1.4826 * statistics.median(abs(log - middle) for log in logs), SPREAD_FLOOR)
        for fact, log in zip(siblings, logs, strict=True):
            score = abs(log - middle) / spread
            if score > OUTLIER_SCORE and abs(log - middle) > math.log(OUTLIER_RATIO):
                detail = f"its rms {fact.rms:.3g} is {score:.0f} deviations from the {math.exp(middle):.3g} of {role}"
                yield Finding("outlier", fact.name, detail)
