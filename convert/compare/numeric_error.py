"""How far apart the numbers of two tensors are. Both are read side by side, a megabyte at a time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.transform.stream import side_by_side, stream_move

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
WINDOW = 1 << 20
"""Bytes of one tensor that are computed with at once. The arithmetic takes several times as much memory."""


def measure_error(wanted: tuple[Checkpoint, Move], found: tuple[Checkpoint, Move]) -> float | None:
    """The normalised mean square error: mean((found - wanted)**2) / mean(wanted**2), in double precision.

    Both moves must make tensors of the same shape, whose dtypes can be written as 32-bit floats. None if the error is
    not a finite number. Raises ``CheckpointError`` or ``OutsideError``.
    """
    apart = power = 0.0
    for _, one, other in read_side_by_side(_as_floats(*wanted), _as_floats(*found)):
        with np.errstate(all="ignore"):
            left, right = (side.view("<f4").astype(np.float64) for side in (one, other))
            right -= left
            apart += float(np.einsum("i,i", right, right))  # not @: BLAS would start threads of its own
            power += float(np.einsum("i,i", left, left))
    if apart == 0.0:
        return 0.0
    error = apart / power if power else math.inf
    return error if math.isfinite(error) else None


def read_side_by_side(left: Iterator[memoryview], right: Iterator[memoryview]) -> Iterator[tuple[int, Bytes, Bytes]]:
    """``side_by_side`` in windows of at most ``WINDOW`` bytes, as arrays of bytes."""
    for position, one, other in side_by_side(left, right, WINDOW):
        yield position, np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)


def _as_floats(checkpoint: Checkpoint, move: Move) -> Iterator[memoryview]:
    return stream_move(checkpoint, move.to_dtype("F32"), allow_overflow=True)
