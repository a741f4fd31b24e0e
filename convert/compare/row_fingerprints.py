"""A 64-bit fingerprint of every row and every column of a matrix, in one pass over it.

The fingerprint of a row is the sum of its words times fixed random numbers, one for each column, modulo 2**64; and the
same for columns. Permuted rows therefore have permuted fingerprints, and the rows of a transposed matrix have the
fingerprints of the columns. So the fingerprints tell how a matrix was rearranged, in little memory.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from magnetar.convert.compare.numeric_error import WINDOW
from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.numbers.block_formats import packed_unit
from magnetar.convert.transform.stream import stream_move

Words = np.ndarray[Any, np.dtype[np.uint64]]
MAX_LINES = 1 << 22
"""Rows or columns. The fingerprint of each takes 8 bytes."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The fingerprints of a matrix [R, C]: ``rows`` [R] and ``columns`` [C]."""

    rows: Words
    columns: Words


def word_size(dtype: str) -> int:
    """The bytes of one number. For quantised blocks it is one: their bytes are taken one by one."""
    elements, nbytes = packed_unit(dtype)
    return nbytes if elements == 1 else 1


def fingerprint(checkpoint: Checkpoint, move: Move) -> Fingerprints | None:
    """The fingerprints of a tensor, whose rows are its last dimension; a vector is a column.

    None if a row is empty or too long, or there are too many lines. Raises ``CheckpointError`` or ``OutsideError``.
    """
    size = word_size(move.dtype)
    lines = math.prod(move.shape[:-1]) if len(move.shape) > 1 else math.prod(move.shape)
    words = move.nbytes // size // max(lines, 1)
    if not words or words * size > CHUNK or max(lines, words) > MAX_LINES:
        return None
    multipliers = _multipliers(max(lines, words))
    rows, columns = np.empty(lines, np.uint64), np.zeros(words, np.uint64)
    position = 0
    for block in _whole_lines(stream_move(checkpoint, move), words * size):
        matrix = np.frombuffer(block, f"<u{size}").reshape(-1, words).astype(np.uint64)
        end = position + len(matrix)
        rows[position:end] = matrix @ multipliers[:words]
        columns += multipliers[position:end] @ matrix
        position = end
    return Fingerprints(rows, columns)


@lru_cache(maxsize=4)
def _multipliers(count: int) -> Words:
    return np.random.Generator(np.random.PCG64(0)).integers(0, 1 << 64, count, np.uint64) | np.uint64(1)


def _whole_lines(blocks: Iterable[memoryview], width: int) -> Iterator[bytes]:
    """The same bytes in pieces that hold whole lines of ``width`` bytes."""
    step = max(WINDOW // width, 1) * width
    rest = b""
    for block in blocks:
        joined = rest + block
        whole = len(joined) // width * width
        for start in range(0, whole, step):
            yield joined[start : min(start + step, whole)]
        rest = joined[whole:]
