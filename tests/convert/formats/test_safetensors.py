import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec
from magnetar.convert.formats.detect import open_path
from magnetar.convert.formats.safetensors import encode_header, file_order, read_safetensors
from magnetar.errors import CheckpointError, ConversionError, LayoutError
from tests.convert.forge import raw

Open = Callable[[bytes], Checkpoint]


@pytest.fixture
def open_bytes(tmp_path: Path) -> Open:
    def open_(content: bytes) -> Checkpoint:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        return read_safetensors(LocalFile(path))

    return open_


def file(header: str | bytes | dict, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header) if isinstance(header, dict) else header
    encoded = text.encode() if isinstance(text, str) else text
    return (len(encoded) if length is None else length).to_bytes(8, "little") + encoded + data


def entry(begin: int, end: int, dtype: str = "U8", shape: list | None = None) -> dict:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.float8_e5m2,
    torch.float8_e4m3fn,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.float32,
    torch.float64,
    torch.int64,
)


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.text("abc.\u00e9\u65e5_-0", min_size=1, max_size=9).filter(lambda name: ".." not in name),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=8,
    )
)
def test_headers_are_byte_for_byte_those_of_the_library(open_bytes: Open, described: dict) -> None:
    tensors = {name: torch.ones(shape).to(dtype) for name, (dtype, shape) in described.items()}
    content = save(tensors, metadata={"format": "pt"})
    read = open_bytes(content)
    assert {name: bytes(read.read(name)) for name in read.specs} == {n: raw(t) for n, t in tensors.items()}
    placed = sorted(read.specs.values(), key=file_order)
    assert content.startswith(encode_header(placed, {"format": "pt"}))
    position = len(encode_header(placed, {"format": "pt"}))
    for spec in placed:
        assert spec.offset == position
        position += spec.nbytes


X = entry(0, 4)
HOSTILE = {
    "nothing": (b"", "too few"),
    "a header beyond the file": (file({"x": X}, length=1000), r"\d+ bytes are missing"),
    "a header beyond all reason": (file({"x": X}, length=1 << 40), "claims a header"),
    "not JSON": (file("{not json}"), "malformed header"),
    "a list": (file("[1, 2]"), "not one JSON object"),
    "space before the brace": (file(" " + json.dumps({"x": X}), b"abcd"), "not one JSON object"),
    "padding with newlines": (file(json.dumps({"x": X}) + "\n", b"abcd"), "not one JSON object"),
    "deep nesting": (file('{"a":' * 100_000 + "}" * 100_000), "malformed header"),
    "invalid UTF-8": (file(b'{"\xff":1}'), "malformed header"),
    "a name twice": (file(f'{{"x":{json.dumps(X)},"x":{json.dumps(X)}}}', b"abcd"), "'x' is there twice"),
    "a field twice": (file('{"x":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}'), "there twice"),
    "a metadata key twice": (file('{"__metadata__":{"a":"1","a":"2"}}'), "there twice"),
    "metadata that is not text": (file({"__metadata__": {"a": 1}}), "metadata that is not text"),
    "a name that climbs": (file({"../../x": X}, b"abcd"), "not a plain tensor name"),
    "an empty name": (file({"": X}, b"abcd"), "not a plain tensor name"),
    "a name with an escape code": (file({"\u001b[2J": X}, b"abcd"), "not a plain tensor name"),
    "an unknown field": (file({"x": X | {"strides": [1]}}, b"abcd"), "is not described by"),
    "an unknown dtype": (file({"x": entry(0, 4, "F7")}, b"abcd"), "'F7' is not known"),
    "a negative size": (file({"x": entry(0, 4, shape=[-4])}, b"abcd"), "malformed"),
    "a fraction": (file({"x": entry(0, 4, shape=[4.0])}, b"abcd"), "malformed"),
    "true for a size": (file({"x": entry(0, 1, shape=[True])}, b"a"), "malformed"),
    "a shape that overflows": (file({"x": entry(0, 4, shape=[1 << 40, 1 << 40])}, b"abcd"), "needs"),
    "a shape that is too small": (file({"x": entry(0, 4, shape=[3])}, b"abcd"), "needs 3 bytes, but its range has 4"),
    "a range that runs backwards": (file({"x": entry(4, 0, shape=[4])}, b"abcd"), "needs 4 bytes"),
    "an overlap": (file({"x": entry(0, 4), "y": entry(2, 6)}, b"abcdef"), "hole or an overlap"),
    "a hole": (file({"x": entry(0, 4), "y": entry(5, 6)}, b"abcdef"), "hole or an overlap"),
    "bytes before the first": (file({"x": entry(2, 6)}, b"abcdef"), "hole or an overlap"),
    "bytes after the last": (file({"x": X}, b"abcdefg"), "goes on for 3 bytes"),
}


@pytest.mark.parametrize(("content", "rule"), HOSTILE.values(), ids=HOSTILE)
def test_a_header_that_lies_is_refused_with_the_rule_that_it_broke(open_bytes: Open, content: bytes, rule: str) -> None:
    with pytest.raises(CheckpointError, match=rule):
        open_bytes(content)


@pytest.mark.parametrize(
    ("described", "tensor"),
    [
        ({"a": entry(0, 4), "b": entry(5, 8)}, "b"),  # a hole before it
        ({"a": entry(0, 4), "b": entry(4, 8, shape=[5])}, "b"),
        ({"a": entry(0, 4, dtype="F3"), "b": entry(4, 8)}, "a"),
        ({"a": {"dtype": "U8"}, "b": entry(4, 8)}, "a"),
        ({"a": entry(0, 4), "b": entry(4, 9)}, ""),  # the file is too short
    ],
)
def test_an_error_has_the_file_and_the_tensor_as_data(tmp_path: Path, described: dict, tensor: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(file(described, bytes(8)))
    with pytest.raises(CheckpointError) as caught:
        open_path(tmp_path / "x.safetensors")
    assert (caught.value.path, caught.value.tensor) == (Path("x.safetensors"), tensor)


def test_a_truncated_shard_is_reported_with_its_missing_bytes(open_bytes: Open) -> None:
    content = save({"x": torch.zeros(100)})
    with pytest.raises(CheckpointError, match=rf"7 bytes are missing at its end: it has {len(content) - 7} of"):
        open_bytes(content[:-7])


@settings(max_examples=300)
@given(st.data())
def test_any_change_of_a_header_is_refused_or_read(open_bytes: Open, data: st.DataObject) -> None:
    content = bytearray(save({"x": torch.zeros(3), "y": torch.ones(2, dtype=torch.float16)}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 17))] = data.draw(st.integers(0, 255))
    try:
        checkpoint = open_bytes(bytes(content))
    except ConversionError:
        return
    assert sum(spec.nbytes for spec in checkpoint.specs.values()) == 16


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_file({"a": torch.zeros(2), "b": torch.ones(3)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"c": torch.zeros(4)}, tmp_path / "model-00002-of-00002.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    files = {"a": 1, "b": 1, "c": 2}
    weight_map = {name: f"model-0000{number}-of-00002.safetensors" for name, number in files.items()}
    path.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": weight_map}))
    return path


def rewrite(path: Path, **changes: str | None) -> None:
    document = json.loads(path.read_text())
    document["weight_map"] |= changes
    document["weight_map"] = {name: file for name, file in document["weight_map"].items() if file is not None}
    path.write_text(json.dumps(document))


def test_shards_are_read_through_their_index(sharded: Path) -> None:
    with open_path(sharded) as checkpoint:
        assert set(checkpoint.specs) == {"a", "b", "c"}
        assert checkpoint.read("b") == raw(torch.ones(3))


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded.parent / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        open_path(sharded)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"a": "model-00002-of-00002.safetensors"}, "it is in model-00001-of-00002"),
        ({"d": "model-00002-of-00002.safetensors"}, "says that d is in .*; it is in no shard"),
        ({"b": None}, "says that b is in no shard"),
        ({"a": "../secret.safetensors"}, "not a plain file name"),
        ({"a": "/etc/passwd"}, "not a plain file name"),
    ],
)
def test_an_index_that_lies_is_refused(sharded: Path, changes: dict[str, str | None], fault: str) -> None:
    rewrite(sharded, **changes)
    with pytest.raises(CheckpointError, match=fault):
        open_path(sharded)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_an_index_that_is_no_document_is_refused(sharded: Path, content: str) -> None:
    sharded.write_text(content)
    with pytest.raises(LayoutError, match=r"model\.safetensors\.index\.json"):
        open_path(sharded)


def test_only_names_dtypes_and_shapes_make_a_header() -> None:
    spec = TensorSpec("x", "BF16", (2, 3), 5, 999, 12)
    text = '{"x":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    assert encode_header([spec], {}) == (64).to_bytes(8, "little") + text.ljust(64).encode()
