"""Turning the bytes of a piece on their way: rows of a head reordered, a matrix transposed. In numpy."""

from collections.abc import Iterator

import numpy as np

from magnetar.convert.pieces import Piece, Turn
from magnetar.convert.transpose import transpose


def turn_block(piece: Piece, block: memoryview) -> Iterator[memoryview]:
    """One block of a piece in its new order. A view is good until the next is asked for; ``block`` may be used up."""
    if piece.turn is Turn.COPY:
        yield block
    elif piece.turn is Turn.TRANSPOSE:
        yield from transpose(block, piece.rows, piece.columns, piece.nbytes // (piece.rows * piece.columns))
    else:
        pairs = (-1, 2) if piece.turn is Turn.SPLIT_HALVES else (2, -1)
        rows = np.frombuffer(block, dtype=np.uint8).reshape(*pairs, piece.nbytes // piece.rows)
        yield np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1).data
