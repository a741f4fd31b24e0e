"""Whether two checkpoints hold the same tensors, bit for bit, whatever their layouts and files."""

import threading
from collections.abc import Iterator, Mapping

from magnetar.convert.compare.tensor_digests import count_workers
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.convert.transform.stream import Scratch, stream_move
from magnetar.convert.transform.view import map_source
from magnetar.errors import WrongBytesError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.parallel import work_in_parallel


def compare(source: CheckpointSource, output: CheckpointSource, emit: Emit = ignore) -> int:
    """Read both, ``output`` through the layout of ``source``, and compare every tensor; return how many.

    Raises ``WrongBytesError`` naming the first tensor that differs, ``LayoutError`` if the layouts do not fit,
    ``CheckpointError`` or ``DiskError``.
    """
    return _compare_all(source, output, _moves(source, source.layout), _moves(output, source.layout), emit)


def compare_recoded(source: CheckpointSource, output: CheckpointSource, emit: Emit = ignore) -> int:
    """As ``compare``, where ``output`` is in other number formats: the source's numbers are written in those first.

    Blocks run along rows as the publisher has them, so where there are any, that is the layout to compare in.
    """
    packed = any(spec.dtype in BLOCK_FORMATS for spec in output.checkpoint.specs.values())
    layout = "mistral" if packed and source.layout != AS_IS else source.layout
    ours, theirs = _moves(source, layout), _moves(output, layout)
    for name in ours.keys() & theirs.keys():
        ours[name] = ours[name].to_dtype(theirs[name].dtype)
    return _compare_all(source, output, ours, theirs, emit)


def _moves(source: CheckpointSource, layout: str) -> dict[str, Move]:
    return {move.name: move for move in map_source(source, layout)}


def _compare_all(
    source: CheckpointSource, output: CheckpointSource, ours: Mapping[str, Move], theirs: Mapping[str, Move], emit: Emit
) -> int:
    if apart := ours.keys() ^ theirs.keys():
        raise WrongBytesError(f"{min(apart)} is in only one of {source.folder} and {output.folder}")
    mine = threading.local()

    def work(name: str) -> None:
        if not hasattr(mine, "scratches"):
            mine.scratches = Scratch(), Scratch()
        _compare(source.checkpoint, ours[name], output.checkpoint, theirs[name], *mine.scratches)
        emit(Moved(Step.COMPARE, ours[name].nbytes))

    emit(Began(Step.COMPARE, sum(move.nbytes for move in ours.values())))
    work_in_parallel(work, _in_order(theirs, output.checkpoint), count_workers([*ours.values(), *theirs.values()]))
    emit(Ended(Step.COMPARE))
    return len(ours)


def _in_order(moves: Mapping[str, Move], checkpoint: Checkpoint) -> list[str]:
    """Names in the order in which their bytes begin in the files, so that those are read from front to back."""
    specs = {name: checkpoint.specs[move.segments[0].tensor] for name, move in moves.items()}
    return sorted(moves, key=lambda name: (specs[name].source, specs[name].offset, moves[name].segments[0].offset))


def _compare(
    source: Checkpoint, ours: Move, output: Checkpoint, theirs: Move, scratch: Scratch, other: Scratch
) -> None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        raise WrongBytesError(f"{ours.name}: {ours.dtype} {ours.shape} is not {theirs.dtype} {theirs.shape}")
    streams = (
        stream_move(source, ours, allow_overflow=True, scratch=scratch),
        stream_move(output, theirs, scratch=other),
    )
    for position, left, right in _side_by_side(*streams):
        if not _equal(left, right):
            raise WrongBytesError(
                f"{ours.name}: differs between {position:,} and {position + len(left):,} bytes from its beginning",
                hint="if one was made from the other, the disk or the memory may be failing: convert again",
            )


def _equal(left: memoryview, right: memoryview) -> bool:
    """Whether the bytes are the same. Views are compared one element at a time; whole arrays, many at once."""
    whole = left.obj if isinstance(left.obj, bytearray) and len(left.obj) == len(left) else bytearray(left)
    return whole == right


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
