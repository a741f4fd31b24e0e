"""Read a checkpoint as if it had been converted to another layout. Nothing is written."""

from collections.abc import Mapping
from types import MappingProxyType

from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec
from magnetar.convert.layout.mapping import Move, keep_tensors, map_tensors
from magnetar.convert.layout.tables import find_layout
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.convert.transform.stream import find_spans, is_copy, stream_move


class View:
    """The tensors of a source under the names and in the arrangement of another layout.

    In ``specs``, ``source``, ``offset`` and ``seal`` mean nothing: the bytes may lie nowhere in that order.
    """

    def __init__(self, checkpoint: Checkpoint, moves: Mapping[str, Move]) -> None:
        self._checkpoint = checkpoint
        self._moves = moves
        self.specs: Mapping[str, TensorSpec] = MappingProxyType(
            {move.name: TensorSpec(move.name, move.dtype, move.shape, -1, 0, move.nbytes) for move in moves.values()}
        )

    def read(self, name: str) -> bytearray:
        """One tensor's bytes, row-major, little-endian, writable, checked against the container's checksum.

        Raises ``CheckpointError`` if the checksum is wrong, ``OutsideError`` if the bytes cannot be read.
        """
        content = bytearray(self.specs[name].nbytes)
        self.read_into(name, memoryview(content))
        return content

    def read_into(self, name: str, memory: memoryview) -> None:
        """Read one tensor into ``memory`` (bytes, contiguous, of exactly its size). Raises as ``read``."""
        position = 0

        def lend(length: int) -> memoryview:
            return memory[position : position + length]

        for block in stream_move(self._checkpoint, self._moves[name], lend=lend):
            if block.obj is not memory.obj:  # else it was read straight into its place
                memory[position : position + len(block)] = block
            position += len(block)

    def offset(self, name: str) -> int:
        """Where in its file a tensor begins, if it lies there as it is and can be read without a copy; else 0."""
        move = self._moves[name]
        if not is_copy(self._checkpoint, move):
            return 0
        return next((span.offset for span in find_spans(self._checkpoint, move)), 0)


def view_as(source: CheckpointSource, layout: str, *, unpacked: bool = True) -> View:
    """``source`` as if it were in ``layout``. With ``unpacked``, quantised numbers become 32-bit floats.

    Raises ``LayoutError`` for a layout that is unknown, or has no place for some tensor.
    """
    moves = map_source(source, layout)
    return View(source.checkpoint, {move.name: unpack_blocks(move) if unpacked else move for move in moves})


def map_source(source: CheckpointSource, layout: str) -> tuple[Move, ...]:
    """How each tensor of ``layout`` is made from those of the source; for ``AS_IS`` each is copied.

    Raises ``LayoutError`` for a layout that is unknown, or has no place for some tensor.
    """
    if layout == AS_IS:
        return keep_tensors(source.checkpoint.specs)
    return map_tensors(source.checkpoint.specs, find_layout(source.layout), find_layout(layout), source.architecture)


def unpack_blocks(move: Move) -> Move:
    """A tensor of quantised blocks becomes one of 32-bit floats, exactly; any other stays as it is."""
    return move.to_dtype("F32") if move.dtype in BLOCK_FORMATS else move
