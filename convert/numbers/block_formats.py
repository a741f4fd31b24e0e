"""Number formats that can be written as others: floats, and the blocks in which GGUF packs several numbers.

Only names and sizes are here; the arithmetic is in ``recode``.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from magnetar.convert.numbers.dtypes import DTYPES


class BlockFormat(NamedTuple):
    """A block holds ``elements`` numbers of a row in ``nbytes`` bytes. ``number`` is the format's in ``ggml.h``."""

    name: str
    number: int
    elements: int
    nbytes: int


BLOCK_FORMATS: Mapping[str, BlockFormat] = {
    block.name: block
    for block in (
        BlockFormat("Q4_0", 2, 32, 18),
        BlockFormat("Q4_1", 3, 32, 20),
        BlockFormat("Q5_0", 6, 32, 22),
        BlockFormat("Q5_1", 7, 32, 24),
        BlockFormat("Q8_0", 8, 32, 34),
        BlockFormat("Q2_K", 10, 256, 84),
        BlockFormat("Q3_K", 11, 256, 110),
        BlockFormat("Q4_K", 12, 256, 144),
        BlockFormat("Q5_K", 13, 256, 176),
        BlockFormat("Q6_K", 14, 256, 210),
        BlockFormat("IQ2_XXS", 16, 256, 66),
        BlockFormat("IQ2_XS", 17, 256, 74),
        BlockFormat("IQ3_XXS", 18, 256, 98),
        BlockFormat("IQ1_S", 19, 256, 50),
        BlockFormat("IQ4_NL", 20, 32, 18),
        BlockFormat("IQ3_S", 21, 256, 110),
        BlockFormat("IQ2_S", 22, 256, 82),
        BlockFormat("IQ4_XS", 23, 256, 136),
        BlockFormat("IQ1_M", 29, 256, 56),
        BlockFormat("TQ1_0", 34, 256, 54),
        BlockFormat("TQ2_0", 35, 256, 66),
        BlockFormat("MXFP4", 39, 32, 17),
    )
}

QUANTISERS = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "TQ1_0", "TQ2_0", "MXFP4")
"""The formats that gguf-py can write. It can read all of ``BLOCK_FORMATS``."""

FLOATS = ("F32", "F16", "BF16")
"""The formats that can be asked for outside of GGUF."""

READABLE_FLOATS = ("F64", *FLOATS)
"""The floats that can be written in another format."""


def can_recode(source: str, target: str) -> bool:
    """Whether numbers of ``source`` can be written as ``target``. FP8 and integers can only be kept."""
    readable = source in READABLE_FLOATS or source in BLOCK_FORMATS
    return source == target or (readable and target in (*FLOATS, *QUANTISERS))


def packed_unit(dtype: str) -> tuple[int, int]:
    """The smallest unit of a dtype: how many numbers, in how many bytes."""
    block = BLOCK_FORMATS.get(dtype)
    return (block.elements, block.nbytes) if block else (1, DTYPES[dtype].itemsize)


def fits_blocks(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether rows of that shape can be stored in whole blocks of that dtype."""
    elements, _ = packed_unit(dtype)
    return elements == 1 or (bool(shape) and shape[-1] % elements == 0)


def packed_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """The bytes of a tensor of a known dtype whose rows are whole blocks."""
    elements, nbytes = packed_unit(dtype)
    return math.prod(shape) // elements * nbytes
