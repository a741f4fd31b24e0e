"""How far the numbers of two tensors are apart, read side by side a few megabytes at a time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.transform.stream import stream_move

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
WINDOW = 1 << 20
"""Bytes of one side that arithmetic is done on at once; it takes several times as many beside them."""


def measure_error(wanted: tuple[Checkpoint, Move], found: tuple[Checkpoint, Move]) -> float | None:
    """The normalised mean square error: mean((found - wanted)**2) / mean(wanted**2), in double precision.

    Both moves must make tensors of one shape whose dtypes can be written as 32-bit floats. None where it is no finite
    number. Raises ``CheckpointError`` or ``DiskError``.
    """
    apart = power = 0.0
    for _, one, other in read_side_by_side(_as_floats(*wanted), _as_floats(*found)):
        with np.errstate(all="ignore"):
            left, right = (side.view("<f4").astype(np.float64) for side in (one, other))
            right -= left
            apart += float(np.einsum("i,i", right, right))  # not @: BLAS would bring threads of its own into ours
            power += float(np.einsum("i,i", left, left))
    if apart == 0.0:
        return 0.0
    error = apart / power if power else math.inf
    return error if math.isfinite(error) else None


def read_side_by_side(left: Iterator[memoryview], right: Iterator[memoryview]) -> Iterator[tuple[int, Bytes, Bytes]]:
    """Two streams of one length in windows of one length, each with its position. Both are run to their end."""
    position = 0
    one = other = memoryview(b"")
    while (one := one or next(left, END)) and (other := other or next(right, END)):
        length = min(len(one), len(other), WINDOW)
        yield position, np.frombuffer(one[:length], np.uint8), np.frombuffer(other[:length], np.uint8)
        one, other, position = one[length:], other[length:], position + length
    next(right, END)


END = memoryview(b"")


def _as_floats(checkpoint: Checkpoint, move: Move) -> Iterator[memoryview]:
    return stream_move(checkpoint, move.to_dtype("F32"), allow_overflow=True)
