"""Whether two checkpoints hold the same tensors, bit for bit, whatever their layouts and files."""

from collections.abc import Iterator, Mapping

import numpy as np

from magnetar.convert.blocks import BLOCK_FORMATS
from magnetar.convert.checkpoint import Checkpoint
from magnetar.convert.pieces import Move
from magnetar.convert.source import AS_IS, Source
from magnetar.convert.stream import stream_move
from magnetar.convert.view import map_source
from magnetar.errors import WrongBytesError
from magnetar.events import Began, Emit, Ended, Moved, ignore


def compare(source: Source, output: Source, emit: Emit = ignore) -> int:
    """Read both, ``output`` through the layout of ``source``, and compare every tensor; return how many.

    Raises ``WrongBytesError`` naming the first tensor that differs, ``LayoutError`` if the layouts do not fit,
    ``CheckpointError`` or ``DiskError``.
    """
    return _compare_all(source, output, _moves(source, source.layout), _moves(output, source.layout), emit)


def compare_recoded(source: Source, output: Source, emit: Emit = ignore) -> int:
    """As ``compare``, where ``output`` is in other number formats: the source's numbers are written in those first.

    Blocks run along rows as the publisher has them, so where there are any, that is the layout to compare in.
    """
    packed = any(spec.dtype in BLOCK_FORMATS for spec in output.checkpoint.specs.values())
    layout = "mistral" if packed and source.layout != AS_IS else source.layout
    ours, theirs = _moves(source, layout), _moves(output, layout)
    for name in ours.keys() & theirs.keys():
        ours[name] = ours[name].to_dtype(theirs[name].dtype)
    return _compare_all(source, output, ours, theirs, emit)


def _moves(source: Source, layout: str) -> dict[str, Move]:
    return {move.name: move for move in map_source(source, layout)}


def _compare_all(
    source: Source, output: Source, ours: Mapping[str, Move], theirs: Mapping[str, Move], emit: Emit
) -> int:
    emit(Began("compare", sum(move.nbytes for move in ours.values())))
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            raise WrongBytesError(f"{name} is in only one of {source.folder} and {output.folder}")
        _compare(source.checkpoint, ours[name], output.checkpoint, theirs[name])
        emit(Moved("compare", ours[name].nbytes))
    emit(Ended("compare"))
    return len(ours)


def _compare(source: Checkpoint, ours: Move, output: Checkpoint, theirs: Move) -> None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        raise WrongBytesError(f"{ours.name}: {ours.dtype} {ours.shape} is not {theirs.dtype} {theirs.shape}")
    for position, left, right in _side_by_side(
        stream_move(source, ours, allow_overflow=True), stream_move(output, theirs)
    ):
        if not _equal(left, right):
            raise WrongBytesError(
                f"{ours.name}: differs between {position:,} and {position + len(left):,} bytes from its beginning",
                hint="if one was made from the other, the disk or the memory may be failing: convert again",
            )


def _equal(left: memoryview, right: memoryview) -> bool:
    words = np.uint64 if len(left) % 8 == 0 else np.uint8
    return np.array_equal(np.frombuffer(left, words), np.frombuffer(right, words))


def _side_by_side(
    left: Iterator[memoryview], right: Iterator[memoryview]
) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Two streams of one length, cut into blocks of one length, each with its position. Both are run to their end."""
    position = 0
    one = other = END
    while True:
        one, other = one or next(left, END), other or next(right, END)
        if not one and not other:
            return
        length = min(len(one), len(other))
        yield position, one[:length], other[:length]
        one, other, position = one[length:], other[length:], position + length


END = memoryview(b"")
