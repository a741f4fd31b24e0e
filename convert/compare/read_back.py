"""Check that two checkpoints hold the same tensors bit for bit, whatever their layouts and files are."""

import threading
from collections.abc import Iterator, Mapping

from magnetar.convert.compare.digest_tensors import count_workers
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.convert.transform.stream import Follow, Scratch, side_by_side, stream_move
from magnetar.convert.transform.view import map_source
from magnetar.errors import WrongBytesError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.parallel import work_in_parallel


def compare(
    source: CheckpointSource, output: CheckpointSource, emit: Emit = ignore, follow: Follow | None = None
) -> int:
    """Read both, ``output`` rearranged to the layout of ``source``, and compare every tensor. Return their number.

    ``follow`` is given all that is read of ``source``, by several threads; each tensor by one, from first to last.
    Raises ``WrongBytesError`` naming the first tensor that differs, ``LayoutError`` if the layouts do not fit,
    ``CheckpointError`` or ``OutsideError``.
    """
    return _compare_all(source, output, _map(source, source.layout), _map(output, source.layout), emit, follow)


def compare_recoded(
    source: CheckpointSource, output: CheckpointSource, emit: Emit = ignore, follow: Follow | None = None
) -> int:
    """The same where ``output`` has other number formats: the source's numbers are written in those formats first.

    Quantised blocks lie along the rows of the publisher's matrices. If there are any, both are compared in its layout;
    then several threads may read one tensor of a source that has another.
    """
    packed = any(spec.dtype in BLOCK_FORMATS for spec in output.checkpoint.specs.values())
    layout = "mistral" if packed and source.layout != AS_IS else source.layout
    ours, theirs = _map(source, layout), _map(output, layout)
    for name in ours.keys() & theirs.keys():
        ours[name] = ours[name].to_dtype(theirs[name].dtype)
    return _compare_all(source, output, ours, theirs, emit, follow)


def _map(source: CheckpointSource, layout: str) -> dict[str, Move]:
    return {move.name: move for move in map_source(source, layout)}


def _compare_all(
    source: CheckpointSource,
    output: CheckpointSource,
    ours: Mapping[str, Move],
    theirs: Mapping[str, Move],
    emit: Emit,
    follow: Follow | None,
) -> int:
    if apart := ours.keys() ^ theirs.keys():
        raise WrongBytesError(f"{min(apart)} is in only one of {source.folder} and {output.folder}")
    of_thread = threading.local()

    def compare_tensor(name: str) -> None:
        if not hasattr(of_thread, "scratches"):
            of_thread.scratches = Scratch(), Scratch()
        one, other = of_thread.scratches
        streams = (
            stream_move(source.checkpoint, ours[name], allow_overflow=True, scratch=one, follow=follow),
            stream_move(output.checkpoint, theirs[name], scratch=other),
        )
        _compare(ours[name], theirs[name], *streams)
        emit(Moved(Step.COMPARE, ours[name].nbytes))

    emit(Began(Step.COMPARE, sum(move.nbytes for move in ours.values())))
    names = _in_order(theirs, output.checkpoint)
    work_in_parallel(compare_tensor, names, count_workers([*ours.values(), *theirs.values()]))
    emit(Ended(Step.COMPARE))
    return len(ours)


def _in_order(moves: Mapping[str, Move], checkpoint: Checkpoint) -> list[str]:
    """Names in the order in which the tensors begin in the files, so that the files are read from front to back."""
    specs = {name: checkpoint.specs[move.segments[0].tensor] for name, move in moves.items()}
    return sorted(moves, key=lambda name: (specs[name].source, specs[name].offset, moves[name].segments[0].offset))


def _compare(ours: Move, theirs: Move, left_stream: Iterator[memoryview], right_stream: Iterator[memoryview]) -> None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        raise WrongBytesError(f"{ours.name}: {ours.dtype} {ours.shape} is not {theirs.dtype} {theirs.shape}")
    for position, left, right in side_by_side(left_stream, right_stream):
        if not _equal(left, right):
            raise WrongBytesError(
                f"{ours.name}: differs between {position:,} and {position + len(left):,} bytes from its beginning",
                hint="if one was made from the other, the disk or the memory may be failing: convert again",
            )


def _equal(left: memoryview, right: memoryview) -> bool:
    """Whether the bytes are the same. Python compares views element by element, but a bytearray in one go."""
    whole = left.obj if isinstance(left.obj, bytearray) and len(left.obj) == len(left) else bytearray(left)
    return whole == right
