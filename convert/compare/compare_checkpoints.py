"""Compare two checkpoints, in any formats: which tensors differ, and how. Nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from magnetar.convert.compare.comparison_report import ExpertOrder, How, Sameness, TensorDifference
from magnetar.convert.compare.digest_tensors import count_workers, digest_move
from magnetar.convert.compare.expert_order import find_expert_orders
from magnetar.convert.compare.tensor_difference import Side, explain
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move
from magnetar.convert.layout.tables import find_layout
from magnetar.convert.layout.tensor_layout import Part
from magnetar.convert.numbers.block_formats import FLOATS
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, open_as_it_is, open_source
from magnetar.convert.transform.view import map_source
from magnetar.errors import CheckpointError, LayoutError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.parallel import work_in_parallel

COMMON_LAYOUT = "mistral"


def compare_checkpoints(first: Path, second: Path, *, emit: Emit = ignore) -> Sameness:
    """Compare every tensor of two checkpoints, folders or files, in bounded memory.

    Both are rearranged to the publisher's layout, so that their formats do not matter. Where a configuration is missing
    or the model is of another family, tensors of the same name are compared as they are. A damaged tensor is a
    difference.
    Raises what ``open_source`` raises (``LayoutError`` only where the two have no name in common), ``OutsideError``,
    and ``UsageError`` where quantised numbers need the gguf library.
    """
    with _open_both(first, second) as (sources, reason):
        layout = AS_IS if AS_IS in (sources[0].layout, sources[1].layout) else COMMON_LAYOUT
        sides = [Side(source.checkpoint, _by_name(map_source(source, layout))) for source in sources]
        comparison = _Comparison(sides[0], sides[1], sources[0].stated, emit)
        names = [*sides[0].moves, *(name for name in sides[1].moves if name not in sides[0].moves)]
        differences = comparison.run(names)
        experts = comparison.find_expert_orders(differences)
        configuration = tuple(_compare_configurations(sources[0].stated, sources[1].stated))
        return Sameness(str(first), str(second), layout, reason, len(names), differences, experts, configuration)


@contextmanager
def _open_both(first: Path, second: Path) -> Iterator[tuple[tuple[CheckpointSource, CheckpointSource], str]]:
    """Both checkpoints in the layouts that their names tell, or both as they are; and the reason in words."""
    with ExitStack() as stack:
        try:
            opened = [stack.enter_context(open_source(path)) for path in (first, second)]
            reason = f"seen in the layout {COMMON_LAYOUT}: {opened[0].layout} and {opened[1].layout}"
        except LayoutError as error:
            opened = [stack.enter_context(open_as_it_is(path)) for path in (first, second)]
            if not opened[0].checkpoint.specs.keys() & opened[1].checkpoint.specs.keys():
                raise
            reason = f"compared name by name: {error.message}"
        yield (opened[0], opened[1]), reason


def _compare_configurations(first: Architecture | None, second: Architecture | None) -> Iterator[str]:
    if first is None or second is None:
        return
    for field in fields(Architecture):
        old, new = getattr(first, field.name), getattr(second, field.name)
        if old != new and field.name != "context_length":  # the publisher's form does not state it
            yield f"{field.name} is {new}, not {old}"


def _by_name(moves: tuple[Move, ...]) -> dict[str, Move]:
    return {move.name: move for move in moves}


@dataclass(frozen=True, slots=True)
class _Digest:
    """The SHA-256 of a tensor's numbers after they were written as ``dtype``; empty if ``damage`` says why not."""

    dtype: str
    sha256: str
    damage: str = ""


class _Comparison:
    """Digests all tensors first, and then looks closer at those that differ."""

    def __init__(self, first: Side, second: Side, architecture: Architecture | None, emit: Emit) -> None:
        self._sides = (first, second)
        self._architecture = architecture
        self._emit = emit
        self._parts = _parts_by_name(architecture)
        self._workers = count_workers([*first.moves.values(), *second.moves.values()])
        self._digests: tuple[Mapping[str, _Digest], Mapping[str, _Digest]] = ({}, {})

    def run(self, names: Sequence[str]) -> tuple[TensorDifference, ...]:
        """Each tensor of ``names`` that is not bit for bit the same, in their order."""
        self._emit(Began(Step.COMPARE, sum(move.nbytes for side in self._sides for move in side.moves.values())))
        self._digests = self._digest(0), self._digest(1)
        self._emit(Ended(Step.COMPARE))
        origins = {(found.dtype, found.sha256): name for name, found in self._digests[0].items() if found.sha256}
        moved = {name: origin for name in names if (origin := self._find_origin(name, origins))}
        different = [name for name in names if not self._are_identical(name)]
        if not different:
            return ()
        self._emit(Began(Step.EXPLAIN, len(different), "tensors"))
        differences = work_in_parallel(lambda name: self._judge(name, moved), different, self._workers)
        self._emit(Ended(Step.EXPLAIN))
        return tuple(differences)

    def find_expert_orders(self, differences: Sequence[TensorDifference]) -> tuple[ExpertOrder, ...]:
        """The layers whose experts are all there in another order."""
        first, second = (
            {self._part(name): found.sha256 for name, found in digests.items() if name in self._parts}
            for digests in self._digests
        )
        orders = {self._part(difference.name): difference.order for difference in differences}
        return find_expert_orders(
            first, second, {part.layer: order for part, order in orders.items() if part.role == "router"}
        )

    def _digest(self, number: int) -> dict[str, _Digest]:
        side, other = self._sides[number], self._sides[1 - number]

        def digest(move: Move) -> _Digest:
            dtype = _common_dtype(move, other.moves.get(move.name))
            try:
                sha256 = digest_move(side.checkpoint, move.to_dtype(dtype)) if dtype else ""
                return _Digest(dtype, sha256)
            except CheckpointError as error:
                return _Digest(dtype, "", error.message)
            finally:
                self._emit(Moved(Step.COMPARE, move.nbytes))

        digests = work_in_parallel(digest, side.moves.values(), self._workers)
        return dict(zip(side.moves, digests, strict=True))

    def _find_origin(self, name: str, origins: Mapping[tuple[str, str], str]) -> str:
        """The other tensor of the first checkpoint whose numbers the second has under this name; empty if none."""
        found = self._digests[1].get(name)
        if found is None or self._digests[0].get(name) == found:
            return ""
        return origins.get((found.dtype, found.sha256), "")

    def _are_identical(self, name: str) -> bool:
        left, right = (side.moves.get(name) for side in self._sides)
        if left is None or right is None or (left.dtype, left.shape) != (right.dtype, right.shape):
            return False
        return self._have_same_numbers(name)

    def _have_same_numbers(self, name: str) -> bool:
        first, second = (digests[name] for digests in self._digests)
        return first == second and bool(first.sha256)

    def _judge(self, name: str, moved: Mapping[str, str]) -> TensorDifference:
        """How a tensor that is not identical differs."""
        try:
            return self._explain(name, moved)
        except CheckpointError as error:  # of a tensor whose bytes were not read before
            return TensorDifference(name, How.DAMAGED, error.message)
        finally:
            self._emit(Moved(Step.EXPLAIN, 1))

    def _explain(self, name: str, moved: Mapping[str, str]) -> TensorDifference:
        left, right = (side.moves.get(name) for side in self._sides)
        origin = moved.get(name, "")
        if right is None:
            return TensorDifference(name, How.MISSING, "only the first has it")
        if left is None:
            detail = "only the second has it" + (f", with the numbers of {origin}" if origin else "")
            return TensorDifference(name, How.EXTRA, detail, origin=origin)
        for which, digests in zip(("first", "second"), self._digests, strict=True):
            if digests[name].damage:
                return TensorDifference(name, How.DAMAGED, f"in the {which}: {digests[name].damage}")
        if left.shape == right.shape and self._have_same_numbers(name):
            return _cast_difference(left, right)
        if left.shape == right.shape and origin:
            return _moved_difference(left, right, origin, swapped=moved.get(origin) == name)
        return explain(*self._sides, name, self._architecture, self._part(name))

    def _part(self, name: str) -> Part:
        return self._parts.get(name, Part(""))


def _parts_by_name(architecture: Architecture | None) -> dict[str, Part]:
    if architecture is None:
        return {}
    return {name: laid.parts[0] for name, laid in find_layout(COMMON_LAYOUT).tensors(architecture).items()}


def _common_dtype(move: Move, other: Move | None) -> str:
    """The dtype in which numbers of both can be compared; empty if they cannot."""
    if other is None or other.dtype == move.dtype:
        return move.dtype
    return "F32" if move.dtype in FLOATS and other.dtype in FLOATS else ""


def _cast_difference(left: Move, right: Move) -> TensorDifference:
    detail = f"has the same numbers in {right.dtype}, not {left.dtype}"
    return TensorDifference(
        left.name, How.CAST, detail, dtypes=(left.dtype, right.dtype), shapes=(left.shape, right.shape)
    )


def _moved_difference(left: Move, right: Move, origin: str, *, swapped: bool) -> TensorDifference:
    difference = TensorDifference(
        left.name, How.MOVED, f"has the numbers of {origin}", origin=origin, dtypes=(left.dtype, right.dtype)
    )
    if swapped:
        return replace(difference, how=How.SWAPPED, detail=f"is swapped with {origin}")
    return difference
