"""The bytes of a piece in their new order, a few megabytes at a time, checked on the way."""

import zlib
from collections.abc import Iterable, Iterator

from magnetar.convert.checkpoint import CHUNK, Checkpoint
from magnetar.convert.pieces import Piece, Turn, turn_block


def stream_pieces(checkpoint: Checkpoint, pieces: Iterable[Piece]) -> Iterator[memoryview]:
    """The pieces' bytes, one after another. A view is good until the next is asked for.

    Where the container has a checksum over them, it is checked: before the first view, or, if it is over exactly
    these bytes, along with them; then the error comes after the last view, so use nothing before the iterator ends.
    Raises ``CheckpointError`` or ``DiskError``.
    """
    for piece in pieces:
        yield from _stream(checkpoint, piece)


def _stream(checkpoint: Checkpoint, piece: Piece) -> Iterator[memoryview]:
    spec = checkpoint.specs[piece.tensor]
    alone = spec.sealed_alone and piece.nbytes == spec.nbytes
    if not alone:
        checkpoint.check(spec)
    crc = 0
    step = _block_size(piece)
    buffer = memoryview(bytearray(min(step, piece.nbytes)))
    for start in range(0, piece.nbytes, step):
        block = buffer[: min(step, piece.nbytes - start)]
        checkpoint.read_into(spec, piece.offset + start, block)
        if alone:
            crc = zlib.crc32(block, crc)
        yield from _turn(piece, block)
    if alone:
        checkpoint.settle(spec, crc)


def _block_size(piece: Piece) -> int:
    """As many whole blocks as fit in a chunk; at least one."""
    return CHUNK if piece.turn is Turn.COPY else max(CHUNK // piece.block, 1) * piece.block


def _turn(piece: Piece, blocks: memoryview) -> Iterator[memoryview]:
    if piece.turn is Turn.COPY:
        yield blocks
        return
    for start in range(0, len(blocks), piece.block):
        yield turn_block(piece, blocks[start : start + piece.block])
