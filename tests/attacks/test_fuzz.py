"""Files of every form with some bytes changed: read as something, or refused with an error of ours; nothing else."""

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from magnetar.byte_source import LocalFile, LocalFolder
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.detect import open_path, read_document
from magnetar.convert.formats.gguf import Field, MetadataType, encode_gguf_header
from magnetar.convert.formats.grok import find_buffers
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.read.part_names import find_split
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.journal import Conversion, WrittenFile, read_conversion, record_conversion
from magnetar.convert.write.tokenizer_json import read_vocabulary
from magnetar.errors import ConversionError
from tests.convert.forge import MOE, TEXT, train_tokenizer, write_release

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def save_torch(zipped: bool) -> bytes:
    out = io.BytesIO()
    torch.save(TENSORS, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def save_gguf() -> bytes:
    fields = [
        Field("general.name", MetadataType.STRING, "x"),
        Field("n", MetadataType.UINT32, 7),
        Field("l", MetadataType.INT32, [1, 2]),
    ]
    specs = [TensorSpec("a", "F32", (2, 3), 0, 0, 24), TensorSpec("b", "F16", (4,), 0, 0, 8)]
    return encode_gguf_header(fields, specs) + bytes(64)


def save_npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.arange(6.0).reshape(2, 3), b=np.ones(4, np.float16))
    return out.getvalue()


def read_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        with open_path(path) as checkpoint:
            for name in checkpoint.specs:
                checkpoint.read(name)


def read_grok_array(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensor00000_000"
        path.write_bytes(content)
        with LocalFile(path) as source:
            find_buffers(source)


def save_model() -> bytes:
    """A whole GGUF model, so that what its metadata says of its sizes and tokenizer is read too."""
    with tempfile.TemporaryDirectory() as folder:
        release = write_release(Path(folder) / "release", replace(MOE, vocab_size=420))
        (release / "tokenizer.model").write_bytes(train_tokenizer(TEXT, 420))
        convert(ConvertRequest(release, Path(folder) / "out", target="gguf"))
        return (Path(folder) / "out" / "model.gguf").read_bytes()


def read_model(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(content)
        with open_source(path) as source:
            assert source.architecture.dim > 0


def read_beside(name: str) -> Callable[[bytes], object]:
    """Reads a small document beside weights that are good."""

    def read(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model-00001-of-00001.safetensors").write_bytes(save(TENSORS))
            (Path(folder) / name).write_bytes(content)
            if name.endswith("index.json"):
                with open_path(Path(folder) / name) as checkpoint:
                    assert checkpoint.specs.keys() == TENSORS.keys()
            else:
                read_configuration = Architecture.from_params if name == "params.json" else Architecture.from_config
                assert read_configuration(read_document(LocalFolder(Path(folder)), name)).dim > 0

    return read


def read_note(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".magnetar" / "conversion.json"
        path.parent.mkdir()
        path.write_bytes(content)
        noted = read_conversion(Path(folder))
        assert noted is None or all(file.size >= 0 for file in (*noted.files.values(), *noted.begun.values()))


def save_note() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        files = {"a.safetensors": WrittenFile(7, "00ff")}
        record_conversion(Path(folder), Conversion("aa", "release", "hf", files, {"b.gguf": WrittenFile(9, "ff")}))
        return (Path(folder) / ".magnetar" / "conversion.json").read_bytes()


INDEX = {"metadata": {"total_size": 32}, "weight_map": dict.fromkeys(TENSORS, "model-00001-of-00001.safetensors")}

FORMS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "torch": (save_torch(True), read_file),
    "torch before 1.6": (save_torch(False), read_file),
    "safetensors": (save(TENSORS), read_file),
    "gguf": (save_gguf(), read_file),
    "npz": (save_npz(), read_file),
    "grok": (pickle.dumps(np.arange(40, dtype=np.float32), 4), read_grok_array),
    "gguf model": (save_model(), read_model),
    "index": (json.dumps(INDEX).encode(), read_beside("model.safetensors.index.json")),
    "params.json": (json.dumps(MOE.to_params()).encode(), read_beside("params.json")),
    "config.json": (json.dumps(MOE.to_config("bfloat16")).encode(), read_beside("config.json")),
    "note of a conversion": (save_note(), read_note),
    "tokenizer": (train_tokenizer(TEXT, 420), read_vocabulary),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_unchanged_file_is_read(form: str) -> None:
    content, read = FORMS[form]
    read(content)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=150)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(form: str, data: st.DataObject) -> None:
    content, read = FORMS[form]
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        match data.draw(st.sampled_from(("set", "cut", "insert", "end"))):
            case "set":
                changed[place : place + 1] = data.draw(st.binary(min_size=1, max_size=9))
            case "cut":
                del changed[place : place + data.draw(st.integers(1, 20))]
            case "insert":
                changed[place:place] = data.draw(st.sampled_from((b"\0" * 8, b"\xff" * 8, b"." * 3, b"(cos\nsystem\n")))
            case _:
                del changed[place:]
    try:
        read(bytes(changed))
    except ConversionError as error:
        assert error.message


@settings(max_examples=200)
@given(st.lists(st.from_regex(r"\A[a-z]{1,3}\.(pth|gguf)[-.](split|part)?[0-9a-z]{1,4}(of[0-9])?\Z"), max_size=6))
def test_any_names_of_parts_are_ordered_or_refused(names: list[str]) -> None:
    try:
        found = find_split(names)
    except ConversionError as error:
        assert error.message
    else:
        assert set(found) <= set(names)
