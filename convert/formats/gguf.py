"""The GGUF format (docs/gguf.md of ggml): typed metadata, a table of tensors, then the tensors, each aligned.

Versions 2 and 3, little-endian, are read; version 3 is written. The reader is stricter than llama.cpp: it refuses keys
or names that occur twice, arrays of arrays, tensors out of order or with holes or overlaps between them, and bytes
after the last tensor.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec, check_name
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, fits_blocks, packed_bytes
from magnetar.errors import CheckpointError

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"
MAX_HEADER_BYTES = 128 << 20
"""Most of a header is the vocabulary. The largest known, of 260,000 tokens with their merges, takes about 16 MB."""

MAX_TEXT_BYTES = 16 << 20
MAX_TENSORS = 1 << 17
MAX_FIELDS = 1 << 16
MAX_ELEMENTS = 1 << 22
"""In all arrays of the metadata together. Each becomes an object of Python, far larger than its bytes."""

MAX_DIMENSIONS = 4
WINDOW = 1 << 18
"""Bytes of the header that are read at once."""

PLAIN_TYPES: Mapping[str, int] = {"F32": 0, "F16": 1, "I8": 24, "I16": 25, "I32": 26, "I64": 27, "F64": 28, "BF16": 30}
TYPE_NUMBERS: Mapping[str, int] = {**PLAIN_TYPES, **{block.name: block.number for block in BLOCK_FORMATS.values()}}
TYPE_NAMES: Mapping[int, str] = {number: name for name, number in TYPE_NUMBERS.items()}


class MetadataType(IntEnum):
    """The types of metadata (``gguf_metadata_value_type``)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


FORMS: Mapping[MetadataType, str] = {
    MetadataType.UINT8: "B",
    MetadataType.INT8: "b",
    MetadataType.UINT16: "H",
    MetadataType.INT16: "h",
    MetadataType.UINT32: "I",
    MetadataType.INT32: "i",
    MetadataType.FLOAT32: "f",
    MetadataType.BOOL: "?",
    MetadataType.UINT64: "Q",
    MetadataType.INT64: "q",
    MetadataType.FLOAT64: "d",
}


class Field(NamedTuple):
    """One entry of the metadata. A ``value`` that is a list is an array of ``kind``."""

    key: str
    kind: MetadataType
    value: Any


def encode_gguf_header(fields: Sequence[Field], specs: Sequence[TensorSpec]) -> bytes:
    """All bytes before the tensors. The tensors must follow in the given order, each padded to ``ALIGNMENT`` bytes.

    Of a spec only name, dtype, shape and nbytes are used. GGUF lists the dimensions of a shape in reverse.
    """
    out = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(specs), len(fields)))
    for field in fields:
        out += _encode_field(field)
    position = 0
    for spec in specs:
        shape = spec.shape[::-1]
        out += _encode_text(spec.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        out += struct.pack("<IQ", TYPE_NUMBERS[spec.dtype], position)
        position += _padded(spec.nbytes, ALIGNMENT)
    return bytes(out + bytes(-len(out) % ALIGNMENT))


def read_gguf(source: ByteSource) -> Checkpoint:
    """The tensors and the metadata of one file. Raises ``CheckpointError`` that says which rule the file broke."""
    cursor = _Cursor(source)
    tensors, fields = _read_counts(cursor)
    metadata = {field.key: field.value for field in _read_fields(cursor, fields)}
    infos = [_read_info(cursor) for _ in range(tensors)]
    alignment = metadata.get(ALIGNMENT_KEY, ALIGNMENT)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise _broken(source, f"has an alignment of {str(alignment)[:40]}")
    specs = list(_place(source, infos, _padded(cursor.position, alignment), alignment))
    return Checkpoint("GGUF", [source], specs, metadata)


def read_gguf_fields(source: ByteSource) -> tuple[Field, ...]:
    """The metadata of one file with its types, in the order of the file. Raises ``CheckpointError``."""
    cursor = _Cursor(source)
    _, fields = _read_counts(cursor)
    return tuple(_read_fields(cursor, fields))


class _Info(NamedTuple):
    """A line of the table of tensors. ``offset`` counts from the beginning of the first tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class _Cursor:
    """Reads a header from its beginning to its end, within its limits. Methods raise ``CheckpointError``."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.position = 0
        self._elements = 0
        self._window = b""
        self._start = 0

    def take(self, length: int) -> bytes:
        """The next bytes. Raises ``CheckpointError`` if the file ends before them, or the header is too long."""
        end = self.position + length
        if end > self.source.size:
            raise _broken(self.source, "ends inside of its header", "the download did not end; fetch it again")
        if end > MAX_HEADER_BYTES:
            raise _broken(self.source, f"has a header of more than {MAX_HEADER_BYTES} bytes")
        if end > self._start + len(self._window):
            self._start = self.position
            count = min(max(length, WINDOW), self.source.size - self._start)
            self._window = read_bytes(self.source, self._start, count)
        taken = self._window[self.position - self._start : end - self._start]
        self.position = end
        return taken

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def text(self) -> str:
        (length,) = self.unpack("Q")
        if length > MAX_TEXT_BYTES:
            raise _broken(self.source, f"has a text of {length} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _broken(self.source, "has a text that is not UTF-8") from error

    def kind(self) -> MetadataType:
        (number,) = self.unpack("I")
        if number not in MetadataType.__members__.values():
            raise _broken(self.source, f"has metadata of the unknown type {number}")
        return MetadataType(number)

    def values(self, kind: MetadataType, count: int) -> list[Any]:
        """``count`` values of one type. The count is checked before anything is read."""
        if kind is MetadataType.ARRAY:
            raise _broken(self.source, "has an array of arrays")
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise _broken(self.source, f"claims {self._elements} elements in its metadata, more than any model has")
        if kind is MetadataType.STRING:
            return [self.text() for _ in range(count)]
        size = struct.calcsize(FORMS[kind])
        if kind is MetadataType.BOOL:
            return [byte != 0 for byte in self.take(count)]
        return list(struct.unpack(f"<{count}{FORMS[kind]}", self.take(count * size)))


def _read_counts(cursor: _Cursor) -> tuple[int, int]:
    """How many tensors and fields the file says it has."""
    source = cursor.source
    if cursor.take(4) != MAGIC:
        raise _broken(source, "does not begin as a GGUF file does")
    version, tensors, fields = cursor.unpack("IQQ")
    if version not in (2, VERSION):
        raise _broken(source, f"is of version {version}, or big-endian; 2 and 3, little-endian, are read")
    if tensors > MAX_TENSORS or fields > MAX_FIELDS:
        raise _broken(source, f"claims {tensors} tensors and {fields} fields, more than any model has")
    return tensors, fields


def _read_fields(cursor: _Cursor, count: int) -> Iterator[Field]:
    seen = set()
    for _ in range(count):
        key, kind = cursor.text(), cursor.kind()
        if key in seen or not key.isprintable():
            raise _broken(cursor.source, f"has the key {key[:80]!r} twice, or it is no text")
        seen.add(key)
        if kind is MetadataType.ARRAY:
            of = cursor.kind()
            (length,) = cursor.unpack("Q")
            yield Field(key, of, cursor.values(of, length))
        else:
            yield Field(key, kind, cursor.text() if kind is MetadataType.STRING else cursor.values(kind, 1)[0])


def _read_info(cursor: _Cursor) -> _Info:
    name = cursor.text()
    check_name(name, cursor.source.name)
    (dimensions,) = cursor.unpack("I")
    if dimensions > MAX_DIMENSIONS:
        raise _broken(cursor.source, f"has a tensor {name} of {dimensions} dimensions", tensor=name)
    shape = cursor.unpack(f"{dimensions}Q")[::-1]
    number, offset = cursor.unpack("IQ")
    if number not in TYPE_NAMES:
        raise _broken(cursor.source, f"has a tensor {name} of the type {number}, which is not known", tensor=name)
    dtype = TYPE_NAMES[number]
    if 0 in shape or math.prod(shape) >= 1 << 63 or not fits_blocks(dtype, shape):
        what = f"has a tensor {name} of {dtype} with the impossible shape {list(shape)}"
        raise _broken(cursor.source, what, tensor=name)
    return _Info(name, dtype, shape, offset)


def _place(source: ByteSource, infos: Iterable[_Info], begin: int, alignment: int) -> Iterator[TensorSpec]:
    """Check where the tensors lie: each must begin at the first aligned byte after the one before it."""
    seen = set()
    position = begin
    for info in infos:
        if info.name in seen:
            raise _broken(source, f"has the tensor {info.name} twice", tensor=info.name)
        seen.add(info.name)
        if begin + info.offset != _padded(position, alignment):
            raise _broken(source, f"has a hole or an overlap before the bytes of {info.name}", tensor=info.name)
        spec = TensorSpec(
            info.name, info.dtype, info.shape, 0, begin + info.offset, packed_bytes(info.dtype, info.shape)
        )
        position = spec.offset + spec.nbytes
        yield spec
    if source.size < position:
        raise CheckpointError(
            f"{source.name}: {position - source.size:,} bytes are missing at its end: it has {source.size:,}",
            hint="the download did not end; fetch it again",
        )
    if source.size > _padded(position, alignment):
        raise _broken(source, f"goes on for {source.size - position} bytes after its last tensor")


def _encode_field(field: Field) -> bytes:
    key = _encode_text(field.key)
    if isinstance(field.value, list):
        head = struct.pack("<IIQ", MetadataType.ARRAY, field.kind, len(field.value))
        return key + head + _encode_values(field.kind, field.value)
    return key + struct.pack("<I", field.kind) + _encode_values(field.kind, [field.value])


def _encode_values(kind: MetadataType, values: Sequence[Any]) -> bytes:
    if kind is MetadataType.STRING:
        return b"".join(map(_encode_text, values))
    return struct.pack(f"<{len(values)}{FORMS[kind]}", *values)


def _encode_text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _padded(size: int, alignment: int) -> int:
    return size + -size % alignment


def _broken(source: ByteSource, what: str, hint: str = "", tensor: str = "") -> CheckpointError:
    hint = hint or "get it from its publisher again"
    return CheckpointError(f"{source.name}: the file {what}", hint=hint, tensor=tensor)
