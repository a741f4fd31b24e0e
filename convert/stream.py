"""The bytes of a tensor as it will be written, a few megabytes at a time, checked on the way."""

import math
import zlib
from collections.abc import Iterator

from magnetar.convert.blocks import packed_unit
from magnetar.convert.checkpoint import CHUNK, Checkpoint
from magnetar.convert.joined import JoinedFile
from magnetar.convert.numbers import recode
from magnetar.convert.pieces import Move, Piece, Turn, turn_block
from magnetar.errors import ConversionError
from magnetar.events import Emit, Remarked, ignore
from magnetar.ranges import FileSpan, LocalFile

RECODED = 1 << 16
"""Bytes that are written in another format at once: numpy makes several copies of them, which a cache should hold."""


def stream_move(
    checkpoint: Checkpoint,
    move: Move,
    *,
    check: bool = True,
    allow_overflow: bool = False,
    emit: Emit = ignore,
) -> Iterator[memoryview]:
    """A tensor's bytes, first to last. A view is good until the next is asked for.

    Where the container has a checksum over them, it is checked: before the first view, or, if it is over exactly
    these bytes, along with them; then the error comes after the last view, so use nothing before the iterator ends.
    ``check=False`` leaves checksums alone.
    Raises ``CheckpointError``, ``DiskError``, and ``ConversionError`` at the end if numbers became infinite and that
    is not allowed.
    """
    unit = _unit(move)
    too_large = 0
    for piece in move.pieces:
        for block in _stream(checkpoint, piece, unit, check):
            if not move.recoded:
                yield block
                continue
            step = _step(unit, RECODED)
            for start in range(0, len(block), step):
                recoded, lost = recode(block[start : start + step], move.stored_as, move.dtype)
                too_large += lost
                yield recoded
    if too_large:
        _report_overflow(move, too_large, allow_overflow, emit)


def is_copy(checkpoint: Checkpoint, move: Move) -> bool:
    """Whether a tensor is made of nothing but bytes that lie in files as they will be written."""
    if move.recoded or any(piece.turn is not Turn.COPY for piece in move.pieces):
        return False
    sources = {checkpoint.specs[piece.tensor].source for piece in move.pieces}
    return all(isinstance(checkpoint.sources[source], LocalFile | JoinedFile) for source in sources)


def find_spans(checkpoint: Checkpoint, move: Move) -> Iterator[FileSpan]:
    """Where the bytes of such a tensor lie, first to last; nothing is checked."""
    for piece in move.pieces:
        spec = checkpoint.specs[piece.tensor]
        yield from checkpoint.sources[spec.source].spans(spec.offset + piece.offset, piece.nbytes)


def _report_overflow(move: Move, count: int, allow_overflow: bool, emit: Emit) -> None:
    what = f"{count:,} of the {math.prod(move.shape):,} numbers of {move.name} are too large for {move.dtype}"
    if not allow_overflow:
        raise ConversionError(what, hint="choose a wider dtype, such as bf16, or allow overflow")
    emit(Remarked(what))


def _unit(move: Move) -> int:
    """The fewest bytes of the source that are whole units of both dtypes."""
    if not move.recoded:
        return 1
    elements, nbytes = packed_unit(move.stored_as)
    wanted, _ = packed_unit(move.dtype)
    return math.lcm(elements, wanted) // elements * nbytes


def _step(unit: int, size: int = CHUNK) -> int:
    """As many whole units as fit; at least one."""
    return max(size // unit, 1) * unit


def _stream(checkpoint: Checkpoint, piece: Piece, unit: int, check: bool) -> Iterator[memoryview]:
    spec = checkpoint.specs[piece.tensor]
    along = check and spec.sealed_alone and piece.nbytes == spec.nbytes and not checkpoint.is_checked(spec)
    if check and not along:
        checkpoint.check(spec)
    crc = 0
    step = _step(unit if piece.turn is Turn.COPY else piece.block)
    buffer = memoryview(bytearray(min(step, piece.nbytes)))
    for start in range(0, piece.nbytes, step):
        block = buffer[: min(step, piece.nbytes - start)]
        checkpoint.read_into(spec, piece.offset + start, block)
        if along:
            crc = zlib.crc32(block, crc)
        whole = len(block) if piece.turn is Turn.COPY else piece.block
        for begin in range(0, len(block), whole):
            yield from turn_block(piece, block[begin : begin + whole])
    if along:
        checkpoint.settle(spec, crc)
