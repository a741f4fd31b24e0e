"""Write numbers of one format in another: floats, and the block formats of GGUF.

Floats are IEEE 754 and bfloat16, rounded to nearest, ties to even. The arithmetic of block formats is that of the
``gguf`` library (the extra ``gguf``), which is imported only when it is needed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, can_recode
from magnetar.errors import ConversionError, UsageError

Numbers = np.ndarray[Any, np.dtype[Any]]

MAX_SCALE = 65504.0
"""The largest 16-bit float. Block formats store a scale as one, so larger numbers are counted as too large."""


def recode(block: memoryview, source: str, target: str) -> tuple[memoryview, int]:
    """Numbers of the dtype ``source`` written as ``target``, and how many finite ones are too large for it.

    ``block`` holds whole units of both dtypes (``packed_unit``). Raises ``UsageError`` where the ``gguf`` library is
    needed and missing, ``ConversionError`` for a pair of dtypes that ``can_recode`` denies.
    """
    if source == target:
        return block, 0
    if not can_recode(source, target):
        raise ConversionError(f"numbers of {source} cannot be written as {target}")
    numbers = decode(block, source)
    if target in BLOCK_FORMATS:
        return quantise(numbers, target), int(np.count_nonzero(np.abs(numbers) > MAX_SCALE))
    with np.errstate(over="ignore", invalid="ignore"):
        encoded = ENCODERS[target](numbers)
    return _bytes(encoded), _count_overflow(numbers, encoded, target)


def decode(block: memoryview, dtype: str) -> Numbers:
    """Bytes of whole units of ``dtype`` as a one-dimensional array of floats."""
    if dtype in BLOCK_FORMATS:
        packed = np.frombuffer(block, np.uint8).reshape(1, -1)  # as one row: the library works on few rows at once
        quants, kind = _gguf(dtype)
        return np.asarray(quants.dequantize(packed, kind), np.float32).reshape(-1)
    return DECODERS[dtype](np.frombuffer(block, np.uint8))


def quantise(numbers: Numbers, dtype: str) -> memoryview:
    """Floats written in a block format. Their count must be a multiple of the block's."""
    quants, kind = _gguf(dtype)
    row = np.ascontiguousarray(numbers, np.float32).reshape(1, -1)
    with np.errstate(all="ignore"):
        return _bytes(quants.quantize(row, kind))


def _gguf(dtype: str) -> tuple[Any, Any]:
    """The library's module with the arithmetic, and its name for a format."""
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError as error:
        raise UsageError(
            f"{dtype} needs the gguf library, which is not installed", hint="pip install 'magnetar[gguf]'"
        ) from error
    return quants, GGMLQuantizationType(BLOCK_FORMATS[dtype].number)


def _widen(packed: Numbers) -> Numbers:
    """bfloat16 to 32 bits: a bfloat16 is the upper half of a 32-bit float."""
    return (packed.view("<u2").astype("<u4") << np.uint32(16)).view("<f4")


def _narrow(numbers: Numbers) -> Numbers:
    """32 bits to the nearest bfloat16, ties to even. A NaN stays a NaN."""
    bits = np.ascontiguousarray(numbers, "<f4").view("<u4")
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(bits.view("<f4")), quiet, rounded).astype("<u2")


def _count_overflow(numbers: Numbers, encoded: Numbers, target: str) -> int:
    infinite = (encoded & 0x7FFF) == 0x7F80 if target == "BF16" else np.isinf(encoded)
    return int(np.count_nonzero(infinite & np.isfinite(numbers))) if infinite.any() else 0


def _bytes(array: Numbers) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


DECODERS: Mapping[str, Callable[[Numbers], Numbers]] = {
    "F64": lambda packed: packed.view("<f8"),
    "F32": lambda packed: packed.view("<f4"),
    "F16": lambda packed: packed.view("<f2").astype("<f4"),
    "BF16": _widen,
}
ENCODERS: Mapping[str, Callable[[Numbers], Numbers]] = {
    "F32": lambda numbers: numbers.astype("<f4"),
    "F16": lambda numbers: numbers.astype("<f2"),
    "BF16": _narrow,
}
