"""Stream the bytes of a tensor as it will be written, about a megabyte at a time, and check them on the way."""

import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from magnetar.byte_source import FileBacked, FileSpan
from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint, TensorSpec
from magnetar.convert.layout.mapping import Move, Segment, Turn
from magnetar.convert.numbers.block_formats import packed_unit
from magnetar.errors import ConversionError
from magnetar.events import Emit, Remarked, ignore

RECODED_AT_ONCE = 1 << 16
"""Bytes that are recoded at once. numpy makes several copies of them, and all should fit into a processor's cache."""

RECODING_BYTES = 4 * CHUNK
"""Bytes of memory that recoding a chunk takes beside it."""

Lend = Callable[[int], memoryview]
"""Lends memory to read into: at most so many bytes, at least one. It stays valid until more is asked for."""

Follow = Callable[[TensorSpec, int, memoryview], None]
"""Is given the bytes of a source's tensor as they were read, and the byte of the tensor at which they begin.

They are at most ``CHUNK`` bytes, not yet turned or recoded, and valid only during the call. What it raises ends the
stream."""


class Scratch:
    """Memory that is lent again and again. The kernel would have to clear new memory each time."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def lend(self, length: int) -> memoryview:
        """Exactly ``length`` bytes, with anything in them."""
        if len(self._memory) < length:
            self._memory = bytearray(length)
        return memoryview(self._memory)[:length]


def stream_move(
    checkpoint: Checkpoint,
    move: Move,
    *,
    check: bool = True,
    defer: bool = False,
    allow_overflow: bool = False,
    emit: Emit = ignore,
    scratch: Scratch | None = None,
    lend: Lend | None = None,
    follow: Follow | None = None,
) -> Iterator[memoryview]:
    """The bytes of the tensor that ``move`` makes, first to last. Each view is valid until the next is asked for.

    With ``check``, the container's checksum over the bytes is compared, if it has one. Comparing it may take reading
    more bytes, and the error may come after the last view, so nothing may be used before the iterator has ended. With
    ``defer``, nothing more is read: the caller calls ``checkpoint.check`` for every tensor at the end.

    ``scratch`` is memory for what is turned or recoded; several calls can share it. Bytes that are copied as they are
    go straight into the memory of ``lend``, if it is given. ``follow`` is called with all that is read of the source,
    each segment from first to last.

    Raises ``CheckpointError`` (a wrong checksum), ``OutsideError``, and at the end ``ConversionError`` if numbers were
    too large for the dtype, unless ``allow_overflow``; then ``emit`` gets a remark.
    """
    scratch = scratch or Scratch()
    reading = _Reading(checkpoint, check, defer, follow)
    if not move.recoded:
        for segment in move.segments:
            yield from _stream_segment(reading, segment, 1, scratch, lend or scratch.lend)
        return
    from magnetar.convert.numbers.recode import recode

    unit = _unit(move)
    step = _step(unit, RECODED_AT_ONCE)
    too_large = 0
    for segment in move.segments:
        for block in _stream_segment(reading, segment, unit, scratch, scratch.lend):
            for start in range(0, len(block), step):
                recoded, lost = recode(block[start : start + step], move.stored_as, move.dtype)
                too_large += lost
                yield recoded
    if too_large:
        _report_overflow(move, too_large, allow_overflow, emit)


def is_copy(checkpoint: Checkpoint, move: Move) -> bool:
    """Whether a tensor is made only of bytes that lie in files as they will be written, so that the kernel can copy."""
    if move.recoded or any(segment.turn is not Turn.COPY for segment in move.segments):
        return False
    sources = {checkpoint.specs[segment.tensor].source for segment in move.segments}
    return all(isinstance(checkpoint.sources[source], FileBacked) for source in sources)


def find_spans(checkpoint: Checkpoint, move: Move) -> Iterator[FileSpan]:
    """Where the bytes of a tensor lie in files, first to last, if it ``is_copy``. Nothing is checked."""
    for segment in move.segments:
        spec = checkpoint.specs[segment.tensor]
        source = checkpoint.sources[spec.source]
        if isinstance(source, FileBacked):
            yield from source.spans(spec.offset + segment.offset, segment.nbytes)


def side_by_side(
    left: Iterator[memoryview], right: Iterator[memoryview], window: int = sys.maxsize
) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Cut two streams of equal length into windows of equal length, at most ``window`` bytes, each with its position.

    Both streams are read to their end, so that what they check at the end is checked.
    """
    position, end = 0, memoryview(b"")
    one = other = end
    while True:
        one, other = one or next(left, end), other or next(right, end)
        if not one or not other:
            return
        length = min(len(one), len(other), window)
        yield position, one[:length], other[:length]
        one, other, position = one[length:], other[length:], position + length


def _report_overflow(move: Move, count: int, allow_overflow: bool, emit: Emit) -> None:
    what = f"{count:,} of the {math.prod(move.shape):,} numbers of {move.name} are too large for {move.dtype}"
    if not allow_overflow:
        hint = "choose a wider dtype, such as bf16, or allow overflow"
        raise ConversionError(what, hint=hint, tensor=move.name)
    emit(Remarked(what))


def _unit(move: Move) -> int:
    """The fewest bytes of the source that hold whole units of both dtypes."""
    if not move.recoded:
        return 1
    elements, nbytes = packed_unit(move.stored_as)
    wanted, _ = packed_unit(move.dtype)
    return math.lcm(elements, wanted) // elements * nbytes


def _step(unit: int, size: int = CHUNK) -> int:
    """The bytes of as many whole units as fit into ``size``; at least one."""
    return max(size // unit, 1) * unit


class _Reading(NamedTuple):
    """How a source is read: the arguments of ``stream_move`` of these names."""

    checkpoint: Checkpoint
    check: bool
    defer: bool
    follow: Follow | None


def _stream_segment(
    reading: _Reading, segment: Segment, unit: int, scratch: Scratch, lend: Lend
) -> Iterator[memoryview]:
    """The bytes of a segment in their new order, in whole units of ``unit`` bytes."""
    if segment.turn is Turn.COPY:
        yield from _read(reading, segment, _step(unit), lend)
    else:
        from magnetar.convert.transform.transpose import turn_block

        for block in _read(reading, segment, _step(segment.block), scratch.lend):
            for begin in range(0, len(block), segment.block):
                yield from turn_block(segment, block[begin : begin + segment.block])
    if reading.check and not reading.defer:
        reading.checkpoint.check(reading.checkpoint.specs[segment.tensor])


def _read(reading: _Reading, segment: Segment, step: int, lend: Lend) -> Iterator[memoryview]:
    """The bytes of a segment as they lie in the source, at most ``step`` at a time."""
    spec = reading.checkpoint.specs[segment.tensor]
    start = 0
    while start < segment.nbytes:
        block = lend(min(step, segment.nbytes - start))
        _fill(reading, spec, segment.offset + start, block)
        yield block
        start += len(block)


def _fill(reading: _Reading, spec: TensorSpec, start: int, block: memoryview) -> None:
    """Read a block, and add its bytes to the checksum while the processor's cache still holds them."""
    for begin in range(0, len(block), CHUNK):
        part = block[begin : begin + CHUNK]
        reading.checkpoint.read_into(spec, start + begin, part)
        if reading.check:
            reading.checkpoint.follow(spec, start + begin, part)
        if reading.follow is not None:
            reading.follow(spec, start + begin, part)
