"""``magnetar same --json``: how two checkpoints differ."""

from typing import Any, Literal

from magnetar.render.json_shapes.base import Number, OutcomeWord, Shape, Text

DifferenceWord = Literal[
    "cast",
    "rounded",
    "swapped",
    "moved",
    "sign flipped",
    "rotary permutation",
    "heads in another order",
    "experts in another order",
    "rows in another order",
    "columns in another order",
    "transposed",
    "reshaped",
    "a range differs",
    "different",
    "damaged",
    "not comparable",
    "missing",
    "extra",
]


class TensorDifference(Shape):
    """How a tensor differs. ``dtypes`` and ``shapes`` are those of the first and of the second checkpoint.

    ``origin`` is the tensor of the first whose numbers the second has here. Number ``i`` of the second was
    ``order[i]`` of the first, for heads, experts, rows or columns in another order. ``changed`` counts numbers that
    differ; they lie between the bytes ``begin`` and ``end`` of the tensor. ``error`` is the normalised mean square
    error. A field that says nothing is empty, 0 or null.
    """

    name: Text
    how: DifferenceWord
    detail: Text
    dtypes: tuple[Text, Text]
    shapes: tuple[list[int], list[int]]
    origin: Text
    order: list[int]
    changed: int
    begin: int
    end: int
    error: Number | None


class ExpertOrder(Shape):
    """A layer whose experts are in another order: expert ``i`` of the second was ``order[i]`` of the first."""

    layer: int
    order: list[int]
    router_follows: bool


class Sameness(Shape):
    """Two checkpoints, compared in ``layout``. ``identical`` of ``tensors`` are the same bit for bit.

    ``configuration`` says what the two configurations disagree on; then the outcome is bad. Tokenizers, templates and
    code are not compared.
    """

    first: Text
    second: Text
    outcome: OutcomeWord
    layout: Text
    reason: Text
    tensors: int
    identical: int
    differences: list[TensorDifference]
    experts: list[ExpertOrder]
    configuration: list[Text]


RESULTS: dict[str, Any] = {"same": Sameness}
