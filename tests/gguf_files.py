"""Change the metadata of a GGUF file: read by llama.cpp's own library, written by ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.gguf import Field, MetadataType, encode_gguf_header, read_gguf


def read_fields(path: Path) -> list[Field]:
    """Every field of a file's metadata, with its type."""
    fields = []
    for name, field in GGUFReader(path).fields.items():
        if name.startswith("GGUF."):
            continue
        kinds = [GGUFValueType(kind) for kind in field.types]
        fields.append(Field(name, MetadataType(int(kinds[-1])), field.contents()))
    return fields


def write_fields(path: Path, fields: list[Field]) -> None:
    """Put other metadata before the same tensors."""
    with read_gguf(LocalFile(path)) as checkpoint:
        header = encode_gguf_header(fields, list(checkpoint.specs.values()))
        payload = path.read_bytes()[min(spec.offset for spec in checkpoint.specs.values()) :]
    path.write_bytes(header + payload)


def change_field(path: Path, key: str, change: Callable[[Any], object] | Field) -> None:
    """Replace the value of one field, or add a field."""
    fields = read_fields(path)
    if isinstance(change, Field):
        fields.append(change._replace(key=key))
    else:
        assert any(field.key == key for field in fields), key
        fields = [field._replace(value=change(field.value)) if field.key == key else field for field in fields]
    write_fields(path, fields)
