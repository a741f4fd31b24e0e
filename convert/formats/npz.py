"""NumPy's ``.npz``: a zip of ``.npy`` files (numpy/lib/format.py), read as a table of byte ranges."""

import ast
import math
from collections.abc import Mapping
from typing import Any

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.convert.formats.checkpoint import MAX_DIMENSIONS, Checkpoint, Seal, TensorSpec, check_name
from magnetar.convert.formats.zip_reader import LOCAL, ZipEntry, read_zip
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

SUFFIX = ".npy"
MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 4096

DESCRIPTIONS: Mapping[str, str] = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<i2": "I16",
    "<u2": "U16",
    "<f2": "F16",
    "<i4": "I32",
    "<u4": "U32",
    "<f4": "F32",
    "<c8": "C64",
    "<f8": "F64",
    "<i8": "I64",
    "<u8": "U64",
}
"""Numbers only: an array of objects is a pickle. numpy has no description for bfloat16; "|V2" could be anything."""


def is_npz(head: bytes) -> bool:
    """Whether ``head``, the first bytes of a file, is of a zip whose first entry is a ``.npy`` file."""
    if len(head) < LOCAL.size or not head.startswith(b"PK\x03\x04"):
        return False
    length = int.from_bytes(head[26:28], "little")
    return head[LOCAL.size : LOCAL.size + length].endswith(SUFFIX.encode())


def read_npz(source: ByteSource) -> Checkpoint:
    """The arrays of one file that ``numpy.savez`` wrote, by their names without the suffix ``.npy``.

    The CRC-32 of an array is checked when its bytes are read. Raises ``CheckpointError``, also for a compressed file.
    """
    return Checkpoint("npz", [source], [_read_array(source, entry) for entry in read_zip(source).values()])


def _read_array(source: ByteSource, entry: ZipEntry) -> TensorSpec:
    where = f"{source.name}: {entry.name[:80]}"
    name = entry.name.removesuffix(SUFFIX)
    check_name(name, source.name)
    head = read_bytes(source, entry.offset, min(entry.size, MAX_HEADER_BYTES))
    version = head[6:7]
    size = {b"\1": 2, b"\2": 4, b"\3": 4}.get(version, 0)
    begin = 8 + size + int.from_bytes(head[8 : 8 + size], "little")
    if not entry.name.endswith(SUFFIX) or not head.startswith(MAGIC) or not size or begin > len(head):
        raise CheckpointError(f"{where}: is not an array of numpy", tensor=name)
    dtype, shape = _read_header(head[8 + size : begin], where)
    nbytes = math.prod(shape) * DTYPES[dtype].itemsize
    if begin + nbytes != entry.size:
        raise CheckpointError(f"{where}: has {entry.size - begin} bytes; its shape needs {nbytes}", tensor=name)
    seal = Seal(entry.offset, entry.size, entry.crc32)
    return TensorSpec(name, dtype, shape, 0, entry.offset + begin, nbytes, seal)


def _read_header(content: bytes, where: str) -> tuple[str, tuple[int, ...]]:
    try:
        header: Any = ast.literal_eval(content.decode("latin-1").strip())
        kind, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise CheckpointError(f"{where}: has a malformed header") from error
    if not isinstance(kind, str) or kind not in DESCRIPTIONS:
        raise CheckpointError(f"{where}: holds {str(kind)[:40]}, which are not plain numbers of a known format")
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or not all(_is_count(size) for size in shape):
        raise CheckpointError(f"{where}: has an impossible shape")
    if fortran is not False and len(shape) > 1:
        raise CheckpointError(f"{where}: is stored column by column", hint="save numpy.ascontiguousarray of it")
    return DESCRIPTIONS[kind], shape


def _is_count(size: object) -> bool:
    return type(size) is int and 0 <= size < 1 << 63
