"""Map the tensors of one layout to those of another: which bytes go where, and how they are rearranged. Pure.

Rearranging is called turning: copying, splitting or interleaving the rotary rows of each head, or transposing.
"""

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
    """How the bytes of a part are rearranged on the way."""

    COPY = "copy"
    SPLIT_HALVES = "split halves"
    """In each head, from interleaved rotary rows to half-split ones."""
    INTERLEAVE = "interleave"
    """In each head, from half-split rows back to interleaved ones."""
    TRANSPOSE = "transpose"


@dataclass(frozen=True, slots=True)
class Segment:
    """``nbytes`` at ``offset`` of the tensor ``tensor`` of the source: a matrix of ``rows`` by ``columns`` elements.

    Blocks of ``block`` bytes are turned independently of one another: a block is one head, or the whole matrix where it
    is transposed. ``rows``, ``columns`` and ``block`` mean nothing for a copy.
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
        """A description for the list of steps."""
        return f"{self.turn.value} {self.tensor}"


@dataclass(frozen=True, slots=True)
class Move:
    """A tensor of the target, and the segments of the source that it is made of, first byte to last.

    The tensor is written as ``dtype``. ``stored_as`` is the dtype of the segments; empty if it is the same.
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
        """The same tensor, written as ``dtype``. Raises ``LayoutError`` if these numbers cannot be written so."""
        stored_as = self.stored_as or self.dtype
        if not can_recode(stored_as, dtype) or not fits_blocks(dtype, self.shape):
            what = f"{self.name}: {stored_as} {list(self.shape)} cannot be written as {dtype}"
            raise LayoutError(what, tensor=self.name)
        return replace(self, dtype=dtype, stored_as=stored_as)


def map_tensors(
    specs: Mapping[str, TensorSpec], source: TensorLayout, target: TensorLayout, architecture: Architecture
) -> tuple[Move, ...]:
    """How every tensor of ``target`` is made from those of ``source``, in the order of the target's layers.

    ``specs`` must have passed ``check_tensors`` for the layout ``source``.
    Raises ``LayoutError`` if the target has no place for a part, or parts of two dtypes would be in one tensor.
    """
    places = source.places(architecture)
    laid = target.tensors(architecture)
    missing = places.keys() - {part for tensor in laid.values() for part in tensor.parts}
    if missing:
        raise LayoutError(f"the layout {target.name} has no place for {min(missing).role} of this model")
    return tuple(map_tensor(tensor, places, specs, architecture) for tensor in laid.values())


def keep_tensors(specs: Mapping[str, TensorSpec]) -> tuple[Move, ...]:
    """Every tensor as it is, under its own name."""
    return tuple(
        Move(spec.name, spec.dtype, spec.shape, (Segment(spec.name, 0, spec.nbytes),)) for spec in specs.values()
    )


def map_tensor(
    tensor: LaidTensor, places: Mapping[Part, Place], specs: Mapping[str, TensorSpec], architecture: Architecture
) -> Move:
    """How one tensor of a layout is made from the parts that lie at ``places`` of the source.

    The tensors at these places must be in ``specs``, in the shapes of their layout. Raises ``LayoutError`` where parts
    of two dtypes would be in one tensor, or blocks cannot be transposed.
    """
    dtypes = {specs[places[part].tensor].dtype for part in tensor.parts}
    if len(dtypes) != 1:
        what = f"{tensor.name} would be made of tensors of several dtypes: {', '.join(sorted(dtypes))}"
        raise LayoutError(what, tensor=tensor.name)
    dtype = dtypes.pop()
    segments = tuple(_map_part(part, places[part], tensor.arrangement, architecture, dtype) for part in tensor.parts)
    return Move(tensor.name, dtype, tensor.shape, segments)


def _map_part(part: Part, place: Place, wanted: Arrangement, architecture: Architecture, dtype: str) -> Segment:
    shape = arranged_shape(part_shape(part.role, architecture), place.arrangement)
    nbytes = packed_bytes(dtype, shape)
    turn = _choose_turn(place.arrangement, wanted)
    if turn is Turn.COPY:
        return Segment(place.tensor, place.number * nbytes, nbytes)
    if turn is Turn.TRANSPOSE and dtype in BLOCK_FORMATS:
        raise LayoutError(f"{place.tensor}: blocks of {dtype} cannot be transposed", tensor=place.tensor)
    rows, columns = shape
    block = nbytes if turn is Turn.TRANSPOSE else nbytes // rows * architecture.head_dim
    return Segment(place.tensor, place.number * nbytes, nbytes, turn, rows, columns, block)


def _choose_turn(have: Arrangement, wanted: Arrangement) -> Turn:
    if have is wanted:
        return Turn.COPY
    if Arrangement.TRANSPOSED in (have, wanted):
        return Turn.TRANSPOSE
    return Turn.SPLIT_HALVES if wanted is Arrangement.HALF_SPLIT else Turn.INTERLEAVE
