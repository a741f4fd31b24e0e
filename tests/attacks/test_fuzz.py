"""Files of every form with some bytes changed: read as something, or refused with an error of ours; nothing else."""

import io
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from magnetar.convert.checkpoint import TensorSpec
from magnetar.convert.containers import open_file
from magnetar.convert.gguf import Field, Kind, encode_gguf_header
from magnetar.convert.grok import find_buffers
from magnetar.convert.split import find_split
from magnetar.convert.tokenizer import read_vocabulary
from magnetar.errors import ConversionError
from magnetar.ranges import LocalFile
from tests.convert.forge import TEXT, train_tokenizer

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def save_torch(zipped: bool) -> bytes:
    out = io.BytesIO()
    torch.save(TENSORS, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def save_gguf() -> bytes:
    fields = [Field("general.name", Kind.STRING, "x"), Field("n", Kind.UINT32, 7), Field("l", Kind.INT32, [1, 2])]
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
        with open_file(path) as checkpoint:
            for name in checkpoint.specs:
                checkpoint.read(name)


def read_grok_array(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensor00000_000"
        path.write_bytes(content)
        with LocalFile(path) as source:
            find_buffers(source)


FORMS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "torch": (save_torch(True), read_file),
    "torch before 1.6": (save_torch(False), read_file),
    "safetensors": (save(TENSORS), read_file),
    "gguf": (save_gguf(), read_file),
    "npz": (save_npz(), read_file),
    "grok": (pickle.dumps(np.arange(40, dtype=np.float32), 4), read_grok_array),
    "tokenizer": (train_tokenizer(TEXT, 420), read_vocabulary),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_unchanged_file_is_read(form: str) -> None:
    content, read = FORMS[form]
    read(content)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=150, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.from_regex(r"\A[a-z]{1,3}\.(pth|gguf)[-.](split|part)?[0-9a-z]{1,4}(of[0-9])?\Z"), max_size=6))
def test_any_names_of_parts_are_ordered_or_refused(names: list[str]) -> None:
    try:
        found = find_split(names)
    except ConversionError as error:
        assert error.message
    else:
        assert set(found) <= set(names)
