"""What comparing two checkpoints says: values, so that it is up to the caller what to make of them."""

from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Outcome, Question


class How(StrEnum):
    """How a tensor of the second checkpoint differs from that of the first; the most telling that is true."""

    CAST = "cast"
    """Every number is the same, in another dtype."""
    ROUNDED = "rounded"
    """One is what the other becomes in its dtype, bit for bit."""
    SWAPPED = "swapped"
    """It holds what another tensor held, and that one what this held."""
    MOVED = "moved"
    """It holds what another tensor held."""
    SIGN = "sign flipped"
    ROTARY = "rotary permutation"
    """Rows of each head are for the other way to rotate pairs, or were brought there with a wrong number of heads."""
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
    """The container's own checksum says so."""
    NOT_COMPARABLE = "not comparable"
    """One of the two is quantised."""
    MISSING = "missing"
    """Only the first checkpoint has it."""
    EXTRA = "extra"
    """Only the second checkpoint has it."""


INEXACT = frozenset({How.ROUNDED, How.NOT_COMPARABLE})


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How one tensor differs, in words (``detail``) and numbers.

    ``dtypes`` and ``shapes`` are of the first and the second. ``origin`` is the tensor of the first whose numbers the
    second has here. ``order`` tells where permuted heads, experts, rows or columns came from: number ``i`` of the
    second was ``order[i]`` of the first; empty where there are too many to list. ``changed`` counts numbers that
    differ; ``begin`` and ``end`` bound the bytes that do, within the tensor as the common layout has it, in 32-bit
    floats if the dtypes differ. ``error`` is the normalised mean square error against the first. Each is empty, zero
    or None where it says nothing.
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


@dataclass(frozen=True, slots=True)
class ExpertOrder:
    """A layer whose experts are all there, in another order: expert ``i`` of the second was ``order[i]`` of the first.

    Where the router follows, its rows are in the same order, and the layer computes what it did.
    """

    layer: int
    order: tuple[int, ...]
    router_follows: bool


@dataclass(frozen=True, slots=True)
class Sameness:
    """Two checkpoints held against each other in ``layout``. ``tensors`` counts the names of either.

    ``differences`` has each that is not bit for bit the same, a mere cast too, in the order of the layers.
    ``configuration`` tells in words what the two configurations disagree on: the same weights compute something else
    with another base of the rotation. It is told, and not held against the weights.
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
        """Good where every number is the same, bad where one is not, unknown where some were rounded or quantised."""
        ways = {difference.how for difference in self.differences} - {How.CAST}
        if ways - INEXACT:
            return Outcome.BAD
        return Outcome.UNKNOWN if ways or not self.tensors else Outcome.GOOD
