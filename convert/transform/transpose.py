"""Transposing a large matrix of small numbers at the speed of memory, in numpy.

Moving 16-bit numbers one by one reaches a quarter of a gigabyte a second. So the rows are first packed by fours: a word
then holds the numbers of four rows in one column. Transposing these 64-bit words moves four numbers at once, and the
four lie together in a row of the result, where they belong. That reaches about two gigabytes a second. Tiles keep the
reads of one step within the first level of the cache and of the page table cache.
"""

from collections.abc import Iterator

import numpy as np

from magnetar.convert.layout.mapping import Segment, Turn

WORD = 8
PACK_BYTES = 1 << 18
"""Bytes that are packed at once, by way of scratch memory of that size."""

PANEL_COLUMNS = 128
TILE_ROWS = 32


def transpose(matrix: memoryview, rows: int, columns: int, itemsize: int) -> Iterator[memoryview]:
    """The columns of a matrix, one after another, some at a time. Each view is valid until the next is asked for.

    ``matrix`` (bytes, row-major, writable) is overwritten: afterwards its numbers are in no useful order.
    """
    lanes = WORD // itemsize
    if rows % lanes:
        numbers = np.frombuffer(matrix, f"u{itemsize}").reshape(rows, columns)
    else:
        pack_rows(matrix, rows, columns, itemsize)
        numbers = np.frombuffer(matrix, "u8").reshape(rows // lanes, columns)
    height, width = numbers.shape
    panel = np.empty((min(PANEL_COLUMNS, width), height), numbers.dtype)
    for left in range(0, width, PANEL_COLUMNS):
        part = panel[: min(PANEL_COLUMNS, width - left)]
        for top in range(0, height, TILE_ROWS):
            tile = numbers[top : top + TILE_ROWS, left : left + PANEL_COLUMNS]
            part[:, top : top + TILE_ROWS] = tile.T
        yield part.reshape(-1).view(np.uint8).data


def pack_rows(matrix: memoryview, rows: int, columns: int, itemsize: int) -> None:
    """Interleave, in place, the numbers of as many rows as fit into a word. ``rows`` must be a multiple of that."""
    lanes = WORD // itemsize
    groups = np.frombuffer(matrix, f"u{itemsize}").reshape(rows // lanes, lanes, columns)
    count = max(PACK_BYTES // (columns * WORD), 1)
    scratch = np.empty((min(count, len(groups)), columns, lanes), groups.dtype)
    for start in range(0, len(groups), count):
        some = groups[start : start + count]
        packed = scratch[: len(some)]
        for lane in range(lanes):
            packed[:, :, lane] = some[:, lane]
        some.reshape(-1)[:] = packed.reshape(-1)


def turn_block(segment: Segment, block: memoryview) -> Iterator[memoryview]:
    """One block of a segment in its new order. Each view is valid until the next is asked for.

    ``block`` may be overwritten.
    """
    if segment.turn is Turn.COPY:
        yield block
    elif segment.turn is Turn.TRANSPOSE:
        yield from transpose(block, segment.rows, segment.columns, segment.nbytes // (segment.rows * segment.columns))
    else:
        pairs = (-1, 2) if segment.turn is Turn.SPLIT_HALVES else (2, -1)
        rows = np.frombuffer(block, dtype=np.uint8).reshape(*pairs, segment.nbytes // segment.rows)
        yield np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1).data
