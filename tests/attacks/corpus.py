"""Hostile files, made here byte by byte: each breaks one rule, and the reader must say which.

``python -m tests.attacks.corpus FOLDER`` writes them all, to try other readers on.
"""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.gguf import Field, MetadataType, encode_gguf_header
from tests.convert.forge import forge_checkpoint
from tests.convert.formats import test_pickle_reader, test_safetensors, test_torch_zip

CANARY = "canary"
FOREIGN = "|is not a checkpoint of any known kind|is empty"
"""Where the first bytes are not those of the format, no reader is asked."""


class Attack(NamedTuple):
    """A hostile file, and a pattern that the refusal must match."""

    file: str
    content: bytes
    rule: str
    size: int = 0
    """Zeros follow up to that size; they take no space on the disk."""


class Run:
    """An object whose pickle leaves a canary behind when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.folder / CANARY}",)


def corpus(folder: Path) -> dict[str, Attack]:
    """Every attack by its name."""
    return {
        **dict(_pickles(folder)),
        **{f"zip: {n}": Attack("x.pth", c, rule + FOREIGN) for n, (c, rule) in test_torch_zip.HOSTILE_ZIPS.items()},
        **{
            f"safetensors: {name}": Attack("x.safetensors", content, rule + FOREIGN)
            for name, (content, rule) in test_safetensors.HOSTILE.items()
        },
        **dict(_bombs()),
        **{f"gguf: {name}": attack for name, attack in _ggufs()},
        **dict(_arrays()),
        **dict(_others()),
    }


def _pickles(folder: Path) -> Iterator[tuple[str, Attack]]:
    for protocol in (2, 4, 5):
        evil = pickle.dumps({"x": Run(folder)}, protocol)
        yield f"pickle: a call, protocol {protocol}", Attack("x.pth", forge_checkpoint(evil, {}), "names '.*system'")
    bare = pickle.dumps(Run(folder), 2)
    yield "pickle: bare", Attack("x.pth", bare, "bare pickle.*not run")
    legacy = io.BytesIO()
    torch.save({"x": Run(folder)}, legacy, _use_new_zipfile_serialization=False)
    yield "pickle: a call before torch 1.6", Attack("x.pt", legacy.getvalue(), "names '.*system'")
    for name, content in test_pickle_reader.HOSTILE.items():
        yield f"pickle: {name}", Attack("x.pth", forge_checkpoint(content, {"0": bytes(16)}), "Nothing of it was run")
    for name, (content, rule) in test_pickle_reader.DAMAGED.items():
        yield f"pickle: {name}", Attack("x.pth", forge_checkpoint(content, {"0": bytes(16)}), rule)


def _bombs() -> Iterator[tuple[str, Attack]]:
    """Small or sparse files that would take for ever, or all memory."""

    def pth(content: bytes, rule: str) -> Attack:
        return Attack("x.pth", forge_checkpoint(content, {}), rule)

    yield "bomb: a pickle that pushes for ever", pth(b"\x80\2" + b"N" * 5_000_000 + b".", "more values than")
    yield "bomb: a pickle that keeps for ever", pth(b"\x80\4N" + b"\x94" * 5_000_000 + b".", "more values than")
    laughs = b"\x80\2)" + b"".join(b"q%c(h%ch%ct" % (n, n, n) for n in range(200)) + b"."
    yield "bomb: a billion laughs", pth(laughs, "holds a tuple|leaves values")
    keys = b"".join(b"\x8a\x0c" + (n * ((1 << 61) - 1)).to_bytes(12, "little") + b"N" for n in range(1, 100_000))
    yield "bomb: keys that collide", pth(b"\x80\2}(" + keys + b"u.", "has a int for a key")
    length = b"\x80\2X" + struct.pack("<I", 0xFFFFFFFF) + b"abc."
    yield "bomb: a text of four gigabytes", pth(length, "lacks its argument")
    for depth in (b"[", b'{"a":'):
        header = depth * (1_000_000 // len(depth))
        content = struct.pack("<Q", len(header)) + header
        yield (
            f"bomb: a header of nothing but {depth.decode()}",
            Attack("x.safetensors", content, "malformed|not one JSON" + FOREIGN),
        )
    many = b'{"a":[' + b"[]," * 4_000_000 + b"[]]}"
    many += b" " * (-len(many) % 8)
    yield "bomb: a header of empty lists", Attack("x.safetensors", struct.pack("<Q", len(many)) + many, "not described")
    huge = struct.pack("<Q", 1 << 62) + b"{"
    yield "bomb: a header of exabytes", Attack("x.safetensors", huge, "claims a header", size=1 << 40)
    digits = b'{"a":{"dtype":"U8","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,1]}}'
    yield (
        "bomb: a number of a million digits",
        Attack("x.safetensors", struct.pack("<Q", len(digits)) + digits, "malformed"),
    )
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/data.pkl", bytes(200_000_000))
    yield "bomb: two hundred megabytes of zeros, packed", Attack("x.pth", zeros.getvalue(), "compressed")
    yield "bomb: a terabyte of nothing", Attack("x.pth", b"", "only zeros", size=1 << 40)
    yield "bomb: a zip of a terabyte", Attack("x.pth", b"PK\3\4", "does not end as a zip", size=1 << 40)


def _gguf(fields: list[Field], specs: list[TensorSpec], payload: bytes = b"") -> bytes:
    return encode_gguf_header(fields, specs) + payload


def _spec(name: str = "a", shape: tuple[int, ...] = (8,), dtype: str = "F32", nbytes: int = 32) -> TensorSpec:
    return TensorSpec(name, dtype, shape, 0, 0, nbytes)


def _ggufs() -> Iterator[tuple[str, Attack]]:
    def file(content: bytes, rule: str, size: int = 0) -> Attack:
        return Attack("x.gguf", content, rule, size)

    def head(tensors: int, fields: int, version: int = 3) -> bytes:
        return b"GGUF" + struct.pack("<IQQ", version, tensors, fields)

    def text(content: bytes, length: int | None = None) -> bytes:
        return struct.pack("<Q", len(content) if length is None else length) + content

    most = (1 << 64) - 1
    good = _gguf([Field("k", MetadataType.UINT32, 1)], [_spec()], bytes(32))
    yield "nothing but the magic", file(b"GGUF", "ends inside")
    yield "an absurd count of tensors", file(head(most, 0), "more than any model", 1 << 20)
    yield "an absurd count of fields", file(head(0, most), "more than any model", 1 << 20)
    yield "version 1", file(head(0, 0, 1), "version 1", 4096)
    yield "big-endian", file(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian", 4096)
    yield "a text of exabytes", file(head(0, 1) + text(b"", most), "a text of", 1 << 40)
    yield "a text that is no UTF-8", file(head(0, 1) + text(b"\xff\xfe") + bytes(16), "not UTF-8")
    key = head(0, 1) + text(b"k")
    yield "an unknown type", file(key + struct.pack("<I", 99), "unknown type 99", 4096)
    yield "an array of arrays", file(key + struct.pack("<IIQ", 9, 9, 1), "array of arrays", 4096)
    yield "an array of exabytes", file(key + struct.pack("<IIQ", 9, 0, most), "elements", 1 << 40)
    yield "an array of a gigabyte", file(key + struct.pack("<IIQ", 9, 0, 1 << 30), "elements", 1 << 40)
    arrays = b"".join(text(b"k%d" % n) + struct.pack("<IIQ", 9, 0, 1 << 21) + bytes(1 << 21) for n in range(4))
    yield "many large arrays", file(head(0, 4) + arrays, "elements")
    yield "an array of countless empty texts", file(key + struct.pack("<IIQ", 9, 8, 1 << 27), "elements", 1 << 40)
    twice = [Field("k", MetadataType.UINT32, 1), Field("k", MetadataType.UINT32, 2)]
    yield "a key twice", file(_gguf(twice, []), "twice")
    yield "a tensor twice", file(_gguf([], [_spec(), _spec()], bytes(64)), "twice")
    yield "a name that climbs", file(_gguf([], [_spec("../../x")], bytes(32)), "not a plain tensor name")
    yield "a shape that overflows", file(_gguf([], [_spec(shape=(1 << 40, 1 << 40))]), "impossible shape")
    yield "a size of zero", file(_gguf([], [_spec(shape=(0, 1 << 63))]), "impossible shape")
    yield "rows that are no whole blocks", file(_gguf([], [_spec(shape=(33,), dtype="Q8_0")]), "impossible shape")
    five = head(1, 0) + text(b"a") + struct.pack("<I5QIQ", 5, 1, 1, 1, 1, 1, 0, 0)
    yield "five dimensions", file(five, "5 dimensions", 4096)
    kind = head(1, 0) + text(b"a") + struct.pack("<IQIQ", 1, 8, 4, 0)
    yield "a type that was removed", file(kind, "type 4", 4096)
    place = head(1, 0) + text(b"a") + struct.pack("<IQIQ", 1, 8, 0, 64)
    yield "a tensor behind a hole", file(place, "hole or an overlap", 4096)
    both = head(2, 0) + b"".join(text(name) + struct.pack("<IQIQ", 1, 8, 0, 0) for name in (b"a", b"b"))
    yield "two tensors in one place", file(both, "hole or an overlap", 4096)
    yield "a tensor that is not there", file(good[:-20], "20 bytes are missing")
    yield "bytes after the last tensor", file(good + bytes(100), "goes on")
    for alignment in (0, 3, 1 << 40):
        fields = [Field("general.alignment", MetadataType.UINT64, alignment)]
        yield f"an alignment of {alignment}", file(_gguf(fields, [_spec()], bytes(32)), "an alignment")
    words = [Field("general.alignment", MetadataType.STRING, "x" * 10_000)]
    yield "an alignment in words", file(_gguf(words, [_spec()], bytes(32)), "an alignment")


def _arrays() -> Iterator[tuple[str, Attack]]:
    def npz(header: bytes, payload: bytes = b"") -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload
            archive.writestr("a.npy", content)
        return out.getvalue()

    objects = io.BytesIO()
    np.savez(objects, a=np.array([Run(Path())], dtype=object))
    yield "npz: objects", Attack("x.npz", objects.getvalue(), "plain numbers")
    for name, header, rule in (
        ("code for a header", b"__import__('os').system('touch canary')", "malformed header"),
        ("a header of brackets", b"(" * 3000, "malformed header"),
        ("a size beyond all memory", b"{'descr':'<f4','fortran_order':False,'shape':(1<<70,)}", "malformed header"),
        ("a size that is not there", b"{'descr':'<f4','fortran_order':False,'shape':(9999999999,)}", "its shape needs"),
        ("a negative size", b"{'descr':'<f4','fortran_order':False,'shape':(-1,)}", "impossible shape"),
        ("no header", b"", "malformed header"),
    ):
        yield f"npz: {name}", Attack("x.npz", npz(header), rule)


def _others() -> Iterator[tuple[str, Attack]]:
    index = "model.safetensors.index.json"
    for name, file in (("climbs", "../../etc/passwd"), ("is absolute", "/etc/passwd"), ("is a number", 7)):
        document = json.dumps({"weight_map": {"a": file}}).encode()
        yield f"index: a shard that {name}", Attack(index, document, "not a plain file name")
    yield "index: nested for ever", Attack(index, b'{"a":' * 200_000, "not JSON")
    yield "index: too large", Attack(index, b"{", "too many", size=1 << 40)
    yield "a web page", Attack("x.pth", b"<!DOCTYPE html><html>404", "web page")
    yield "a tar archive", Attack("x.pth", bytes(257).replace(b"\0", b"t", 1) + b"ustar" + bytes(300), "tar archive")


def write_attack(folder: Path, attack: Attack) -> Path:
    """Put the file of an attack into a folder of its own."""
    folder.mkdir(parents=True)
    path = folder / attack.file
    path.write_bytes(attack.content)
    if attack.size:
        os.truncate(path, attack.size)
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for number, (_name, written) in enumerate(corpus(target).items()):
        write_attack(target / f"{number:03}", written)
