"""The result of comparing two checkpoints, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Outcome, Question, worst


class How(StrEnum):
    """How a tensor of the second checkpoint differs from that of the first. Of several, the most precise."""

    CAST = "cast"
    """Every number is the same, in another dtype."""
    ROUNDED = "rounded"
    """The dtypes differ, and one tensor is bit for bit what the other becomes when it is rounded to its dtype."""
    SWAPPED = "swapped"
    """It holds what another tensor held, and the other tensor holds what this one held."""
    MOVED = "moved"
    """It holds what another tensor held."""
    SIGN = "sign flipped"
    ROTARY = "rotary permutation"
    """The rows of each head are in the order of the other convention, or were reordered for a wrong number of heads."""
    HEADS = "heads in another order"
    EXPERTS = "experts in another order"
    ROWS = "rows in another order"
    COLUMNS = "columns in another order"
    TRANSPOSED = "transposed"
    RESHAPED = "reshaped"
    """The same bytes, in another shape."""
    RANGE = "a range differs"
    DIFFERENT = "different"
    DAMAGED = "damaged"
    """The checksum of its container is wrong."""
    NOT_COMPARABLE = "not comparable"
    """One of the two is quantised."""
    MISSING = "missing"
    """Only the first checkpoint has it."""
    EXTRA = "extra"
    """Only the second checkpoint has it."""


OUTCOMES: Mapping[How, Outcome] = {
    How.CAST: Outcome.GOOD,
    How.ROUNDED: Outcome.UNKNOWN,
    How.NOT_COMPARABLE: Outcome.UNKNOWN,
}
"""Whether the numbers are still those of the first checkpoint. Every other difference is bad."""


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How one tensor differs, in words (``detail``) and numbers.

    ``dtypes`` and ``shapes`` are those in the first and the second checkpoint. ``origin`` is the tensor of the first
    whose numbers the second has here. ``order`` says where heads, experts, rows or columns came from: number ``i`` of
    the second was ``order[i]`` of the first; empty where there are too many to list. ``changed`` numbers differ, all
    between byte ``begin`` and byte ``end`` of the tensor in the common layout; these count 32-bit floats if the dtypes
    differ. ``error`` is the normalised mean square error against the first. A field is empty, zero or None where it
    does not apply.
    """

    name: str
    how: How
    detail: str
    dtypes: tuple[str, str] = ("", "")
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    origin: str = ""
    order: tuple[int, ...] = ()
    changed: int = 0
    begin: int = 0
    end: int = 0
    error: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Whether the numbers are still those of the first checkpoint."""
        return OUTCOMES.get(self.how, Outcome.BAD)


@dataclass(frozen=True, slots=True)
class ExpertOrder:
    """A layer whose experts are all there, in another order: expert ``i`` of the second was ``order[i]`` of the first.

    ``router_follows``: the rows of its router are in the same order, so that the layer computes the same as before.
    """

    layer: int
    order: tuple[int, ...]
    router_follows: bool


@dataclass(frozen=True, slots=True)
class Sameness:
    """Two checkpoints, compared in ``layout`` for ``reason``. ``tensors`` counts the names that either has.

    ``differences`` are the tensors that are not bit for bit the same, in the order of the layers; a mere cast is one.
    ``configuration`` says in words where the two configurations disagree: the same tensors compute something else with
    another base of the rotation. Tokenizers, templates and code are not compared.
    """

    first: str
    second: str
    layout: str
    reason: str
    tensors: int
    differences: tuple[TensorDifference, ...]
    experts: tuple[ExpertOrder, ...]
    configuration: tuple[str, ...]

    @property
    def identical(self) -> int:
        """How many tensors are bit for bit the same."""
        return self.tensors - len(self.differences)

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """Bad if a number, or the configuration, is not the same; unknown if some were rounded or there are none."""
        return Outcome.BAD if self.configuration else self.of_tensors

    @property
    def of_tensors(self) -> Outcome:
        """The outcome of the tensors alone."""
        same = [Outcome.GOOD] if self.identical else []
        return worst([*same, *(difference.outcome for difference in self.differences)])
