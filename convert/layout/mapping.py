"""From one layout to another, part by part: which bytes of which tensor go where, and how they are turned. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tensor_layout import (
    Arrangement,
    LaidTensor,
    Part,
    Place,
    TensorLayout,
    arranged_shape,
    part_shape,
)
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, can_recode, fits_blocks, packed_bytes
from magnetar.errors import LayoutError


class Turn(Enum):
    """What happens to a part's bytes on the way."""

    COPY = "copy"
    SPLIT_HALVES = "split halves"
    """Interleaved rotary rows of each head to half-split ones."""
    INTERLEAVE = "interleave"
    """Half-split rows of each head back to interleaved ones."""
    TRANSPOSE = "transpose"


@dataclass(frozen=True, slots=True)
class Segment:
    """``nbytes`` at ``offset`` of the source's tensor ``tensor``, a matrix of ``rows`` by ``columns`` elements.

    It is turned in independent blocks of ``block`` bytes: one head, or the whole matrix to transpose.
    """

    tensor: str
    offset: int
    nbytes: int
    turn: Turn = Turn.COPY
    rows: int = 1
    columns: int = 1
    block: int = 0

    @property
    def label(self) -> str:
        """What to call it in a list of steps."""
        return f"{self.turn.value} {self.tensor}"


@dataclass(frozen=True, slots=True)
class Move:
    """A tensor of the target, and the segments that it is made of, first byte to last.

    The segments hold numbers of ``stored_as``, if that is not empty, to be written as ``dtype``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    segments: tuple[Segment, ...]
    stored_as: str = ""

    @property
    def nbytes(self) -> int:
        """The bytes of the tensor as it will be written."""
        return packed_bytes(self.dtype, self.shape)

    @property
    def recoded(self) -> bool:
        """Whether its numbers are written in another format."""
        return self.stored_as not in ("", self.dtype)

    def to_dtype(self, dtype: str) -> "Move":
        """The same tensor, written as ``dtype``. Raises ``LayoutError`` for a pair that is not known."""
        stored_as = self.stored_as or self.dtype
        if not can_recode(stored_as, dtype) or not fits_blocks(dtype, self.shape):
            raise LayoutError(f"{self.name}: {stored_as} {list(self.shape)} cannot be written as {dtype}")
        return replace(self, dtype=dtype, stored_as=stored_as)


def map_tensors(
    specs: Mapping[str, TensorSpec], source: TensorLayout, target: TensorLayout, architecture: Architecture
) -> tuple[Move, ...]:
    """How every tensor of ``target`` is made from those of ``source``, in the order of the target's layers.

    ``specs`` must be what ``source`` wants for that architecture (see ``check_tensors``).
    Raises ``LayoutError`` if the target has no place for a part, or parts of two dtypes meet in one tensor.
    """
    places = source.places(architecture)
    laid = target.tensors(architecture)
    missing = places.keys() - {part for tensor in laid.values() for part in tensor.parts}
    if missing:
        raise LayoutError(f"the layout {target.name} has no place for {min(missing).role} of this model")
    return tuple(_make(tensor, places, specs, architecture) for tensor in laid.values())


def keep_tensors(specs: Mapping[str, TensorSpec]) -> tuple[Move, ...]:
    """Every tensor as it is, for a source whose layout is not asked for."""
    return tuple(
        Move(spec.name, spec.dtype, spec.shape, (Segment(spec.name, 0, spec.nbytes),)) for spec in specs.values()
    )


def _make(
    tensor: LaidTensor, places: Mapping[Part, Place], specs: Mapping[str, TensorSpec], architecture: Architecture
) -> Move:
    dtypes = {specs[places[part].tensor].dtype for part in tensor.parts}
    if len(dtypes) != 1:
        raise LayoutError(f"{tensor.name} would be made of tensors of several dtypes: {', '.join(sorted(dtypes))}")
    dtype = dtypes.pop()
    segments = tuple(_map_part(part, places[part], tensor.arrangement, architecture, dtype) for part in tensor.parts)
    return Move(tensor.name, dtype, tensor.shape, segments)


def _map_part(part: Part, place: Place, wanted: Arrangement, architecture: Architecture, dtype: str) -> Segment:
    shape = arranged_shape(part_shape(part.role, architecture), place.arrangement)
    nbytes = packed_bytes(dtype, shape)
    turn = _turn(place.arrangement, wanted)
    if turn is Turn.COPY:
        return Segment(place.tensor, place.number * nbytes, nbytes)
    if turn is Turn.TRANSPOSE and dtype in BLOCK_FORMATS:
        raise LayoutError(f"{place.tensor}: blocks of {dtype} cannot be transposed")
    rows, columns = shape
    block = nbytes if turn is Turn.TRANSPOSE else nbytes // rows * architecture.head_dim
    return Segment(place.tensor, place.number * nbytes, nbytes, turn, rows, columns, block)


def _turn(have: Arrangement, wanted: Arrangement) -> Turn:
    if have is wanted:
        return Turn.COPY
    if Arrangement.TRANSPOSED in (have, wanted):
        return Turn.TRANSPOSE
    return Turn.SPLIT_HALVES if wanted is Arrangement.HALF_SPLIT else Turn.INTERLEAVE
