"""Single damages to what lies beside the tensors of a copy, chosen by a seed."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.gguf import Field, MetadataType, encode_gguf_header, read_gguf, read_gguf_fields

NOT_LOADED = ("CONVERSION.md", "LICENSE")
WEIGHTS = (".safetensors", ".gguf")
NEW_KEYS = ("rope_scaling", "auto_map", "chat_template", "quantization_config", "novelty", "layer_types", "pad_token")
NEW_VALUES: tuple[Any, ...] = (True, 1, "x", {"type": "linear", "factor": 2.0}, [1], 0.5)
NEW_FIELDS = (
    Field("llama.rope.scaling.factor", MetadataType.FLOAT32, 2.0),
    Field("tokenizer.chat_template", MetadataType.STRING, "{{ evil }}"),
    Field("llama.attention.sliding_window", MetadataType.UINT32, 8),
    Field("adapter.type", MetadataType.STRING, "lora"),
)
DESCRIPTIONS = ("general.name", "magnetar.version", "magnetar.source", "magnetar.plan")
"""What says where a file came from, and what no runtime computes with: a change of its text cannot be seen."""

Damage = str


def damage(folder: Path, chosen: random.Random) -> Damage:
    """Damage one thing, and say which; empty if the choice came to nothing."""
    kind = chosen.choice([_change_byte, _change_file, _change_key, _change_key, _change_field])
    return kind(folder, chosen)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in NOT_LOADED)


def _change_byte(folder: Path, chosen: random.Random) -> Damage:
    """A byte of a small file, or of what a file of weights holds before its tensors."""
    name = chosen.choice(_names(folder))
    content = bytearray((folder / name).read_bytes())
    end = _header_end(folder / name) if name.endswith(WEIGHTS) else len(content)
    place = chosen.randrange(end)
    content[place] ^= chosen.choice([1 << chosen.randrange(8), chosen.randrange(1, 256)])
    (folder / name).write_bytes(content)
    return f"byte {place} of {name}"


def _header_end(path: Path) -> int:
    with LocalFile(path) as source:
        if path.suffix == ".gguf":
            return min(spec.offset for spec in read_gguf(source).specs.values())
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def _change_file(folder: Path, chosen: random.Random) -> Damage:
    names = [name for name in _names(folder) if not name.endswith(WEIGHTS)]
    name, other = chosen.choice(names), chosen.choice(names)
    path, content = folder / name, (folder / name).read_bytes()
    how = chosen.choice(["delete", "rename", "truncate", "append", "exchange"])
    if how == "delete":
        path.unlink()
    elif how == "rename":
        path.rename(folder / f"old-{name}")
    elif how == "truncate":
        path.write_bytes(content[: chosen.randrange(len(content))])
    elif how == "append":
        path.write_bytes(content + chosen.choice([b"x", b"{}", b"\0", b"PARAMETER temperature 2\n"]))
    elif name != other:
        path.write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(content)
    else:
        return ""
    return f"{how} {name}, {other}"


def _change_key(folder: Path, chosen: random.Random) -> Damage:
    """A key or a value anywhere in a JSON file."""
    names = [name for name in _names(folder) if name.endswith(".json")]
    if not names:
        return ""
    path = folder / chosen.choice(names)
    before = path.read_text()
    document = json.loads(before)
    places = list(_places(document, chosen))
    how = chosen.choice(["add", "delete", "rename", "change", "change"])
    table, key = chosen.choice(places)
    if how == "add":
        document[chosen.choice(NEW_KEYS)] = chosen.choice(NEW_VALUES)
    elif how == "delete":
        del table[key]
    elif how == "rename" and isinstance(table, dict):
        table[f"{key}_"] = table.pop(key)
    else:
        table[key] = _other_value(table[key], chosen)
    if document == json.loads(before):
        return ""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return f"{how} {key!r} of {path.name}"


def _places(value: Any, chosen: random.Random) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in chosen.sample(list(keys), min(len(keys), 40)):
        yield value, key
        yield from _places(value[key], chosen)


def _other_value(value: Any, chosen: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return chosen.choice([value + 1, value * 2 + 1, None, "x"])
    if isinstance(value, str):
        return chosen.choice([value + "x", "", None, 5])
    return chosen.choice([1, "x", {"type": "x"}, [1]])


def _change_field(folder: Path, chosen: random.Random) -> Damage:
    """A key of the metadata of a GGUF file; other weights are left alone."""
    names = [name for name in _names(folder) if name.endswith(".gguf")]
    if not names:
        return ""
    path = folder / chosen.choice([names[0], *names])
    with LocalFile(path) as source:
        fields = list(read_gguf_fields(source))
        specs = sorted(read_gguf(source).specs.values(), key=lambda spec: spec.offset)
    tensors = path.read_bytes()[specs[0].offset :]
    place = chosen.randrange(len(fields))
    field = fields[place]
    how: Callable[[], object] = chosen.choice(
        [
            lambda: fields.__setitem__(place, field._replace(value=_other_metadata(field.value, chosen))),
            lambda: fields.pop(place),
            lambda: fields.append(chosen.choice(NEW_FIELDS)),
            lambda: fields.__setitem__(place, field._replace(key=field.key + "_")),
        ]
    )
    before = list(fields)
    how()
    if fields == before or (len(fields) == len(before) and fields[place].key in DESCRIPTIONS):
        return ""
    path.write_bytes(encode_gguf_header(fields, specs) + tensors)
    return f"{field.key} of {path.name}"


def _other_metadata(value: Any, chosen: random.Random) -> Any:
    if isinstance(value, list):
        one, other = chosen.sample(range(len(value)), 2)
        changed = list(value)
        changed[one], changed[other] = changed[other], changed[one]
        return changed
    if isinstance(value, bool):
        return not value
    return value + "x" if isinstance(value, str) else value + 1
