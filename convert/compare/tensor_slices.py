"""Slices of large matrices: which a side file lists, and how one is read from a checkpoint of any layout.

A slice is a run of numbers inside one part of the model (see ``layout.tensor_layout``), so that it is one run of bytes
wherever that part is not rearranged. The rows of q and k are interleaved in some layouts and split in others, and only
a whole head could be brought back; so no slice is taken from these.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move, Turn
from magnetar.convert.layout.tables import LAYOUTS
from magnetar.convert.layout.tensor_layout import Arrangement, LaidTensor
from magnetar.convert.numbers.block_formats import FLOATS, READABLE_FLOATS, packed_unit
from magnetar.convert.numbers.recode import recode
from magnetar.manifests.tensor_digests import SliceDigest

SLICES = 24
SLICE_NUMBERS = 4096
"""Eight KB of 16-bit numbers."""

LEAST_NUMBERS = 1024
"""A part with fewer numbers is no large matrix."""

TURNED_ROLES = frozenset({"q", "k"})


def digest_slices(
    checkpoint: Checkpoint, moves: Sequence[Move], layout: str, architecture: Architecture | None
) -> dict[str, SliceDigest]:
    """Digests of slices of at most ``SLICES`` matrices, spread over roles and layers; always the same for one release.

    ``moves`` make the tensors of ``layout``, whose parts follow from ``architecture``; without it each tensor is one
    part. A slice of equal numbers is left out, since any model may have it. Raises ``OutsideError``.
    """
    laid = LAYOUTS[layout].tensors(architecture) if architecture and layout in LAYOUTS else {}
    digests = {}
    for move, parts in _spread(_eligible(moves, laid)):
        first, count = _place_slice(move, parts)
        content = read_numbers(checkpoint, move, first, count)
        if content is not None and not is_constant(content, move.dtype):
            digests[move.name] = SliceDigest(first, count, hashlib.sha256(content).hexdigest())
    return digests


def read_numbers(checkpoint: Checkpoint, move: Move, first: int, count: int) -> bytes | None:
    """The bytes of ``count`` numbers of the tensor that ``move`` makes, from number ``first``, in the dtype they have.

    None where that would take reading much more: the numbers lie in blocks of several, or were turned. Checksums of the
    container are not compared, since they are over whole tensors. Raises ``OutsideError``.
    """
    stored_as = move.stored_as or move.dtype
    elements, itemsize = packed_unit(stored_as)
    if elements != 1:
        return None
    begin, end = first * itemsize, (first + count) * itemsize
    content = bytearray(end - begin)
    position = 0
    for segment in move.segments:
        low, high = max(begin, position), min(end, position + segment.nbytes)
        if low < high:
            if segment.turn is not Turn.COPY:
                return None
            part = memoryview(content)[low - begin : high - begin]
            checkpoint.read_into(checkpoint.specs[segment.tensor], segment.offset + low - position, part)
        position += segment.nbytes
    return bytes(content) if position >= end else None


def cast_exactly(content: bytes, have: str, want: str) -> bytes | None:
    """The same numbers written in another dtype; None if one of them would change, or the dtype cannot be written."""
    if have == want:
        return content
    if have not in READABLE_FLOATS or want not in FLOATS:
        return None
    cast, _ = recode(memoryview(content), have, want)
    if have == "F64":  # it cannot be written again, so the numbers themselves are compared
        narrow, _ = recode(cast, want, "F32")
        same = np.array_equal(np.frombuffer(content, "<f8"), np.frombuffer(narrow, "<f4").astype("<f8"))
    else:
        back, _ = recode(cast, want, have)
        same = bytes(back) == content
    return bytes(cast) if same else None


def is_constant(content: bytes, dtype: str) -> bool:
    """Whether all numbers are the same, as those of a norm that was never trained."""
    _, itemsize = packed_unit(dtype)
    return content == content[:itemsize] * (len(content) // itemsize)


def _eligible(moves: Iterable[Move], laid: Mapping[str, LaidTensor]) -> dict[str, list[tuple[Move, int]]]:
    """Tensors that a slice can be taken of, each with the number of its parts, by the role of these."""
    found = defaultdict[str, list[tuple[Move, int]]](list)
    for move in moves:
        tensor = laid.get(move.name)
        role, parts = ("", 1) if tensor is None else (tensor.parts[0].role, len(tensor.parts))
        arrangement = Arrangement.PLAIN if tensor is None else tensor.arrangement
        if role in TURNED_ROLES or role == "router" or arrangement is not Arrangement.PLAIN:
            continue
        if len(move.shape) >= 2 and math.prod(move.shape) // parts >= LEAST_NUMBERS and packed_unit(move.dtype)[0] == 1:
            found[role].append((move, parts))
    return found


def _spread(by_role: Mapping[str, Sequence[tuple[Move, int]]]) -> list[tuple[Move, int]]:
    """As many as are wanted: about equally many of each role, and of each role evenly over the layers."""
    quota = dict.fromkeys(by_role, 0)
    while sum(quota.values()) < SLICES and any(quota[role] < len(by_role[role]) for role in quota):
        for role in quota:
            if quota[role] < len(by_role[role]) and sum(quota.values()) < SLICES:
                quota[role] += 1
    return [
        by_role[role][(2 * turn + 1) * len(by_role[role]) // (2 * count)]
        for role, count in quota.items()
        for turn in range(count)
    ]


def _place_slice(move: Move, parts: int) -> tuple[int, int]:
    """The first number of the slice, and how many: the middle row of the middle part, and what follows it there.

    The first rows of an embedding belong to control pieces, which often were never trained.
    """
    part = math.prod(move.shape) // parts
    columns = move.shape[-1]
    count = min(SLICE_NUMBERS, part)
    row = min(part // columns // 2 * columns, part - count)
    return parts // 2 * part + row, count
