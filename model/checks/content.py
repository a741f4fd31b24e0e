"""The level ``content``: facts about the numbers of every tensor, and a verdict on them. numpy, no torch.

Nothing here knows what a number should be. It knows what no trained weight is: not a number, infinite, one number for
all, the same bytes as another tensor, a long run of zeros, or far from the size of the same matrix in other layers.
"""

import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.numbers.recode import decode
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.findings import Finding
from magnetar.model.checks.levels import Level, LevelResult, conclude
from magnetar.model.run.weights import RUNNABLE, Buffer, Weights, describe_role

CHUNK = 1 << 18
"""Numbers that are measured together: 1 MiB as float32, which stays in a core's cache."""

MAX_FLOAT16 = 65504.0
"""The largest 16-bit float. No weight of a trained model is near it, and llama.cpp and others convert to float16."""

MAX_ZERO_RUN = 256
"""As many zeros in a row are left by no training. A lost block of 512 bytes is as many in a 16-bit format."""

OUTLIER_SCORE, OUTLIER_RATIO = 12.0, 3.0
"""The rms of a tensor is odd if it is more than so many robust deviations, and so many times, from its siblings'."""

MIN_SIBLINGS = 4
"""With fewer tensors of one role, none is called odd."""

MIN_SPREAD = 0.02
"""The least robust deviation of log rms that is used: where siblings agree to 2 %, a third one is not odd at 3 %."""

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What one read of a tensor tells.

    ``size`` is how many numbers it has, ``row`` how many of them make a row. ``digest`` is the SHA-256 of its bytes in
    the publisher's arrangement. ``nan``, ``infinite`` and ``zeros`` count numbers. ``zero_run`` is the longest run of
    zeros that does not reach the end of the tensor, ``zero_tail`` the length of the one that does.
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
        """Whether no number is NaN or infinite."""
        return not (self.nan or self.infinite)

    @property
    def constant(self) -> bool:
        """Whether all numbers are the same."""
        return self.smallest == self.largest


class Tally:
    """Counts and extremes of one tensor, added up chunk by chunk."""

    def __init__(self) -> None:
        self.nan = self.infinite = self.zeros = self.zero_run = self.zero_tail = 0
        self.squares, self.smallest, self.largest = 0.0, math.inf, -math.inf

    def add(self, numbers: Numbers) -> None:
        """Add the next numbers [n], as floats."""
        low, high = float(numbers.min()), float(numbers.max())  # a NaN is the result of both
        if not (math.isfinite(low) and math.isfinite(high)):
            self.nan += int(np.count_nonzero(np.isnan(numbers)))
            self.infinite += int(np.count_nonzero(np.isinf(numbers)))
            numbers = np.where(np.isfinite(numbers), numbers, 1.0)
            low, high = float(numbers.min()), float(numbers.max())
        self.smallest, self.largest = min(self.smallest, low), max(self.largest, high)
        wide = numbers.astype(np.float64) if max(-low, high) > MAX_FLOAT16 else numbers
        self.squares += float(np.dot(wide, wide))
        self._add_zeros(numbers)

    def _add_zeros(self, numbers: Numbers) -> None:
        zeros = len(numbers) - int(np.count_nonzero(numbers))
        self.zeros += zeros
        if zeros == 0:  # nearly always; finding the other numbers takes ten times as long
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
    """Collects the facts of tensors, by name. ``add`` may be called from the thread that reads them."""

    def __init__(self) -> None:
        self.facts: dict[str, TensorFacts] = {}

    def add(self, spec: TensorSpec, content: Buffer) -> None:
        """Measure one tensor from its bytes. Dtypes that cannot be computed with are passed over."""
        if spec.dtype in RUNNABLE:
            self.facts[spec.name] = measure_tensor(spec, content)


def measure_tensor(spec: TensorSpec, content: Buffer) -> TensorFacts:
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


def survey_rest(weights: Weights, survey: Survey, emit: Emit = ignore) -> None:
    """Read the tensors that ``survey`` does not have, one at a time. Raises ``CheckpointError`` or ``DiskError``."""
    todo = [spec for spec in weights.specs.values() if spec.dtype in RUNNABLE and spec.name not in survey.facts]
    if not todo:
        return
    emit(Began(Step.CONTENT, sum(spec.nbytes for spec in todo)))
    for spec in todo:
        survey.add(spec, weights.read(spec.name))
        emit(Moved(Step.CONTENT, spec.nbytes))
    emit(Ended(Step.CONTENT))


def digest_weights(facts: Mapping[str, TensorFacts], names: Iterable[str]) -> str:
    """One digest for all tensors, the same for every bit-exact copy; empty if a tensor was not read.

    It is the SHA-256 over a line for each of ``names``, sorted: the name and the digest of the tensor's bytes.
    """
    wanted = sorted(set(names))
    if not wanted or any(name not in facts for name in wanted):
        return ""
    lines = "".join(f"{name} {facts[name].digest}\n" for name in wanted)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def judge_content(
    facts: Mapping[str, TensorFacts], architecture: Architecture | None, stored_names: Mapping[str, str]
) -> LevelResult:
    """Judge the numbers of the tensors that were read.

    ``architecture`` is None where it is of no known family, or the model is not whole. ``stored_names`` gives for each
    tensor its name in the file, which the findings quote.
    """
    known = [facts[name] for name in stored_names if name in facts]
    faults = [fault for fact in known for fault in _judge_alone(fact, architecture)]
    faults += [*_find_copies(known), *_find_outliers(known, architecture)]
    order = {fact.name: index for index, fact in enumerate(known)}
    faults.sort(key=lambda fault: order[fault.subject])
    named = [replace(fault, stored_as=_other_name(fault.subject, stored_names)) for fault in faults]
    size = sum(fact.size for fact in known)
    return conclude(Level.CONTENT, named, f"{len(known)} tensors, {size:,} numbers, each digested")


def _other_name(name: str, stored: Mapping[str, str]) -> str:
    """The name in the file, where it is another one."""
    return "" if stored.get(name, name) == name else stored[name]


def _judge_alone(fact: TensorFacts, architecture: Architecture | None) -> Iterator[Finding]:
    """What is wrong with a tensor whatever the others are; the gravest thing only, and runs of zeros."""
    if fact.nan:
        yield Finding("nan", fact.name, f"{fact.nan:,} of its {fact.size:,} numbers are NaN")
    elif fact.infinite:
        yield Finding("infinite", fact.name, f"{fact.infinite:,} of its {fact.size:,} numbers are infinite")
    elif fact.zeros == fact.size:
        yield Finding("all-zero", fact.name, "holds nothing but zeros")
    elif fact.constant and fact.size > 1:
        yield Finding("constant", fact.name, f"all its {fact.size:,} numbers are {fact.largest:g}")
    elif max(-fact.smallest, fact.largest) > MAX_FLOAT16:
        peak = max(-fact.smallest, fact.largest)
        yield Finding("overflow", fact.name, f"holds {peak:g}, more than the largest 16-bit float")
    if fact.zeros < fact.size and (run := _unexplained_zeros(fact, architecture)):
        yield Finding("zero-run", fact.name, f"{run:,} zeros lie in a row in it")


def _unexplained_zeros(fact: TensorFacts, architecture: Architecture | None) -> int:
    """The longest run of zeros that training does not explain; 0 if there is none.

    Embedding and output have a row for each piece of the vocabulary. A piece that no training text had may keep a row
    of zeros: single rows anywhere, and any number of rows at the end.
    """
    by_piece = describe_role(fact.name, architecture) in ("tok_embeddings", "output")
    allowed = fact.row + MAX_ZERO_RUN if by_piece else MAX_ZERO_RUN
    run = fact.zero_run if by_piece else max(fact.zero_run, fact.zero_tail)
    return run if run >= allowed else 0


def _find_copies(facts: Iterable[TensorFacts]) -> Iterator[Finding]:
    """Tensors with the bytes of an earlier one: a duplicated layer or expert, or a head tied to the embedding."""
    first: dict[str, str] = {}
    for fact in facts:
        if fact.constant:
            continue  # reported already; two such tensors are equal for that reason alone
        other = first.setdefault(fact.digest, fact.name)
        if other != fact.name:
            tied = {fact.name, other} == {"tok_embeddings.weight", "output.weight"}
            yield Finding("tied" if tied else "duplicate", fact.name, f"has the same bytes as {other}")


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
        if len(siblings) < MIN_SIBLINGS:
            continue
        logs = [math.log(fact.rms) for fact in siblings]
        middle = statistics.median(logs)
        spread = max(1.4826 * statistics.median(abs(log - middle) for log in logs), MIN_SPREAD)
        for fact, log in zip(siblings, logs, strict=True):
            score = abs(log - middle) / spread
            if score > OUTLIER_SCORE and abs(log - middle) > math.log(OUTLIER_RATIO):
                detail = f"its rms {fact.rms:.3g} is {score:.0f} deviations from the {math.exp(middle):.3g} of {role}"
                yield Finding("outlier", fact.name, detail)
