"""The safetensors format, read strictly and written exactly as its own library writes it.

A file is the length of its header (8 bytes, little-endian), the header (JSON, padded with spaces), and the tensors
back to back. The reader is stricter than the library: it refuses names that occur twice or look like paths, unknown
fields, spaces before the header's brace, and padding by anything but spaces.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec, check_name, tensor_bytes
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

MAX_HEADER_BYTES = 16 << 20
"""The format allows 100 MB. The header of the largest release, with 1,739 tensors, has a quarter of a megabyte."""

METADATA = "__metadata__"
FIELDS = {"dtype", "shape", "data_offsets"}
ALIGNMENT = 8


def read_safetensors(source: ByteSource) -> Checkpoint:
    """The tensors of one file.

    Raises ``CheckpointError`` that says which rule the file broke, or how many bytes are missing.
    """
    header, begin = _read_header(source)
    specs = [_read_spec(source, name, entry, begin) for name, entry in header.items() if name != METADATA]
    _check_metadata(source, header.get(METADATA, {}))
    _check_cover(source, specs, begin)
    return Checkpoint("safetensors", [source], specs)


def read_safetensors_metadata(source: ByteSource) -> dict[str, str]:
    """The texts that one file holds beside its tensors, by their keys. Raises ``CheckpointError``."""
    metadata = _read_header(source)[0].get(METADATA, {})
    _check_metadata(source, metadata)
    return dict(metadata)


def encode_header(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """The length and the header of a file whose tensors lie in the given order, as the library writes them.

    Of a spec only name, dtype, shape and nbytes are used.
    """
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    position = 0
    for spec in specs:
        end = position + spec.nbytes
        header[spec.name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def file_order(spec: TensorSpec) -> tuple[int, str]:
    """The key by which the library sorts tensors before it writes them: wide dtypes first, then by name."""
    return -list(DTYPES).index(spec.dtype), spec.name


def _read_header(source: ByteSource) -> tuple[dict[str, Any], int]:
    """The parsed header, and the offset at which the tensors begin."""
    if source.size < 8:
        raise _broken(source, f"has {source.size} bytes, too few for a safetensors file")
    length = int.from_bytes(read_bytes(source, 0, 8), "little")
    if length > MAX_HEADER_BYTES:
        raise _broken(source, f"claims a header of {length} bytes; more than {MAX_HEADER_BYTES} is no checkpoint's")
    if source.size < 8 + length:
        raise _cut_short(source, 8 + length)
    try:
        text = read_bytes(source, 8, length).decode("utf-8").rstrip(" ")
        if not text.startswith("{") or not text.endswith("}"):
            raise _broken(source, "has a header that is not one JSON object")
        header = json.loads(text, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise _broken(source, f"has a malformed header: {error}") from error
    return header, 8 + length


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:80]!r} is there twice")
        found[name] = value
    return found


def _read_spec(source: ByteSource, name: str, entry: object, begin: int) -> TensorSpec:
    check_name(name, source.name)
    where = f"{source.name}: {name}"
    if not isinstance(entry, dict) or set(entry) != FIELDS:
        raise CheckpointError(f"{where}: is not described by dtype, shape and data_offsets alone", tensor=name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{where}: has a malformed dtype, shape or data_offsets", tensor=name)
    nbytes = tensor_bytes(dtype, tuple(shape), source.name, name)
    if offsets[1] - offsets[0] != nbytes:
        what = f"needs {nbytes} bytes, but its range has {offsets[1] - offsets[0]}"
        raise CheckpointError(f"{where}: {what}", tensor=name)
    return TensorSpec(name, dtype, tuple(shape), 0, begin + offsets[0], nbytes)


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_metadata(source: ByteSource, metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(source, "has metadata that is not text by text")


def _check_cover(source: ByteSource, specs: Iterable[TensorSpec], begin: int) -> None:
    """Check that every byte after the header belongs to exactly one tensor."""
    position = begin
    for spec in sorted(specs, key=lambda spec: (spec.offset, spec.nbytes)):
        if spec.offset != position:
            raise _broken(source, f"has a hole or an overlap before the bytes of {spec.name}", spec.name)
        position += spec.nbytes
    if source.size < position:
        raise _cut_short(source, position)
    if source.size > position:
        raise _broken(source, f"goes on for {source.size - position} bytes after its last tensor")


def _cut_short(source: ByteSource, size: int) -> CheckpointError:
    return CheckpointError(
        f"{source.name}: {size - source.size} bytes are missing at its end: it has {source.size} of {size}",
        hint="the download did not end; fetch it again",
    )


def _broken(source: ByteSource, what: str, tensor: str = "") -> CheckpointError:
    hint = "get it from its publisher again"
    return CheckpointError(f"{source.name}: the file {what}", hint=hint, tensor=tensor)
