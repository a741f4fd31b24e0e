import io
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.torch_zip import read_torch_zip
from magnetar.convert.formats.zip_reader import read_zip
from magnetar.errors import CheckpointError, ConversionError
from tests.convert.forge import Entry, forge_checkpoint, forge_zip, raw

Open = Callable[[bytes], Checkpoint]


@pytest.fixture
def open_bytes(tmp_path: Path) -> Open:
    def open_(content: bytes) -> Checkpoint:
        path = tmp_path / "x.pth"
        path.write_bytes(content)
        return read_torch_zip(LocalFile(path))

    return open_


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


TENSORS = {
    "b.weight": torch.arange(12, dtype=torch.bfloat16).reshape(3, 4),
    "a.weight": torch.linspace(0, 1, 5),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "half": torch.ones(2, 2, 2, dtype=torch.float16),
    "wide": torch.ones(2, dtype=torch.float64),
    "eight": torch.ones(6).to(torch.float8_e4m3fn),
    "unsigned": torch.tensor([1, 65535], dtype=torch.int32).to(torch.uint16),
}


@pytest.mark.parametrize(
    "wrap", [dict, OrderedDict, lambda sd: {"state_dict": sd}, lambda sd: {"model": sd, "epoch": 3}]
)
def test_what_torch_saves_is_read_byte_for_byte(open_bytes: Open, wrap: Callable[[dict], object]) -> None:
    checkpoint = open_bytes(saved(wrap(TENSORS)))
    assert set(checkpoint.specs) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert checkpoint.specs[name].shape == tuple(tensor.shape)
        assert checkpoint.read(name) == raw(tensor)


def test_a_modules_state_dict_with_its_metadata_is_read(open_bytes: Open) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    checkpoint = open_bytes(saved(module.state_dict()))
    assert checkpoint.read("0.weight") == raw(module[0].weight.detach())
    parameters = open_bytes(saved(dict(module.named_parameters())))
    assert parameters.read("1.bias") == raw(module[1].bias.detach())


def test_slices_of_one_storage_are_read_and_its_checksum_is_checked_once(open_bytes: Open) -> None:
    whole = torch.arange(20, dtype=torch.float32).reshape(5, 4)
    checkpoint = open_bytes(saved({"head": whole[:2], "tail": whole[2:]}))
    assert checkpoint.read("head") == raw(whole[:2])
    assert checkpoint.read("tail") == raw(whole[2:])


def test_a_file_beyond_four_gigabytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    with torch.serialization.skip_data():  # the structure, over a hole in the file
        torch.save({"a": torch.empty(5 << 30, dtype=torch.uint8, device="cpu"), "b": torch.zeros(7)}, path)
    entries = read_zip(LocalFile(path))
    assert entries["large/data/0"].size == 5 << 30
    assert entries["large/data/1"].offset > 5 << 30


def test_a_file_that_pythons_zipfile_wrote_is_read(open_bytes: Open) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(TENSORS))) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    assert open_bytes(stream.getvalue()).read("b.weight") == raw(TENSORS["b.weight"])


def small() -> tuple[bytes, dict[str, bytes]]:
    """The pickle and the storages of {"x": [0 1 2 3] in float32, "y": [0 0]}."""
    content = saved({"x": torch.arange(4, dtype=torch.float32), "y": torch.zeros(2)})
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        read = {name.split("/", 1)[1]: opened.read(name) for name in opened.namelist()}
    return read["data.pkl"], {"0": read["data/0"], "1": read["data/1"]}


PICKLE, STORAGES = small()
X, Y = STORAGES["0"], STORAGES["1"]
HEAD = [Entry("a/data.pkl", PICKLE), Entry("a/byteorder", b"little")]


def test_the_forge_makes_what_torch_would_read(open_bytes: Open) -> None:
    content = forge_checkpoint(PICKLE, STORAGES)
    assert torch.equal(torch.load(io.BytesIO(content))["x"], torch.arange(4.0))
    assert open_bytes(content).read("x") == X


HOSTILE_ZIPS = {
    "prefix bytes": (forge_checkpoint(PICKLE, STORAGES, prefix=b"#!/bin/sh\n"), "begin with a zip entry"),
    "prefix bytes that look like a zip": (
        forge_checkpoint(PICKLE, STORAGES, prefix=b"PK\3\4xxx"),
        "overlapping or hidden",
    ),
    "suffix bytes": (forge_checkpoint(PICKLE, STORAGES, suffix=b"\0" * 64), "cut short, or has bytes after"),
    "a comment": (forge_checkpoint(PICKLE, STORAGES, comment=b"hello"), "cut short, or has bytes after"),
    "a wrong count of entries": (forge_checkpoint(PICKLE, STORAGES, count=4), "claims 4"),
    "a lie about the directory's size": (forge_checkpoint(PICKLE, STORAGES, directory_size=1 << 30), "lies about"),
    "two names for one entry": (
        forge_zip([*HEAD, Entry("a/data/0", X, local_name="a/data/9"), Entry("a/data/1", Y)]),
        "calls one entry",
    ),
    "an entry that points at another": (
        forge_zip([*HEAD, Entry("a/data/0", X), Entry("a/data/1", X, header=0)]),
        "overlapping or hidden",
    ),
    "the same name twice": (forge_zip([*HEAD, Entry("a/data/0", X), Entry("a/data/0", X)]), "two entries named"),
    "hidden bytes between entries": (
        forge_zip([*HEAD, Entry("a/data/0", X, gap=b"hidden"), Entry("a/data/1", Y)]),
        "hidden bytes",
    ),
    "a deflated entry": (forge_zip([*HEAD, Entry("a/data/0", X, method=8), Entry("a/data/1", Y)]), "compressed entry"),
    "an lzma entry": (forge_zip([*HEAD, Entry("a/data/0", X, method=14), Entry("a/data/1", Y)]), "compressed entry"),
    "an encrypted entry": (forge_zip([*HEAD, Entry("a/data/0", X, flags=0x809), Entry("a/data/1", Y)]), "encrypted"),
    "an entry encrypted in its own header only": (
        forge_zip([*HEAD, Entry("a/data/0", X, local_flags=0x809), Entry("a/data/1", Y)]),
        "headers disagree",
    ),
    "an entry larger than the file": (
        forge_zip([*HEAD, Entry("a/data/0", X, size=1 << 31), Entry("a/data/1", Y)]),
        "does not fit",
    ),
    "no descriptor where one is announced": (
        forge_zip([*HEAD, Entry("a/data/0", X, descriptor=False), Entry("a/data/1", Y)]),
        "descriptor disagrees",
    ),
    "a name that climbs": (forge_zip([*HEAD, Entry("a/../0", X)]), "unsafe name"),
    "a name that is absolute": (forge_zip([Entry("/a/data.pkl", PICKLE)]), "unsafe name"),
    "an entry outside of the root": (forge_zip([*HEAD, Entry("b/data/0", X)]), "is not in a/"),
    "an entry that torch does not write": (forge_zip([*HEAD, Entry("a/run.sh", b"rm")]), "not one that torch.save"),
    "a program": (forge_zip([*HEAD, Entry("a/constants.pkl", b"")]), "TorchScript"),
    "no pickle": (forge_zip([Entry("a/version", b"3\n")]), "no data.pkl"),
    "a damaged pickle": (forge_zip([Entry("a/data.pkl", PICKLE, crc=1)]), "CRC-32 of a/data.pkl"),
    "big-endian tensors": (forge_zip([HEAD[0], Entry("a/byteorder", b"big")]), "big-endian"),
    "a missing storage": (forge_checkpoint(PICKLE, {"0": X}), "'1' is missing"),
    "a storage that is too small": (
        forge_checkpoint(PICKLE, {"0": X[:-1], "1": Y}),
        "has 15 bytes; the pickle says 16",
    ),
    "a storage that is too large": (forge_checkpoint(PICKLE, {"0": X + b"\0", "1": Y}), "has 17 bytes"),
    "a storage of no tensor": (forge_checkpoint(PICKLE, {**STORAGES, "2": X}), "belongs to no tensor"),
    "half a file": (forge_checkpoint(PICKLE, STORAGES)[:200], "cut short"),
}


@pytest.mark.parametrize(("content", "rule"), HOSTILE_ZIPS.values(), ids=HOSTILE_ZIPS)
def test_a_zip_that_lies_is_refused_with_the_rule_that_it_broke(open_bytes: Open, content: bytes, rule: str) -> None:
    with pytest.raises(CheckpointError, match=rule.replace("(", r"\(")):
        open_bytes(content)


def test_a_flipped_byte_of_a_tensor_is_found_when_it_is_read(open_bytes: Open) -> None:
    content = bytearray(saved(TENSORS))
    spec = open_bytes(bytes(content)).specs["b.weight"]
    content[spec.offset + 5] ^= 1
    assert not torch.equal(torch.load(io.BytesIO(content))["b.weight"], TENSORS["b.weight"])  # torch does not notice
    with pytest.raises(CheckpointError, match=r"b\.weight are damaged"):
        open_bytes(bytes(content)).read("b.weight")


def test_a_deflate_bomb_is_refused_without_inflating_it(open_bytes: Open) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a/data.pkl", bytes(64 << 20))
    with pytest.raises(CheckpointError, match="compressed"):
        open_bytes(stream.getvalue())


@settings(max_examples=300)
@given(st.data())
def test_a_file_with_any_bytes_changed_is_refused_or_reads_as_before(open_bytes: Open, data: st.DataObject) -> None:
    content = bytearray(forge_checkpoint(PICKLE, STORAGES))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        checkpoint = open_bytes(bytes(content))
        read = {name: checkpoint.read(name) for name in checkpoint.specs}
    except ConversionError:
        return
    assert read == {"x": X, "y": Y}


@settings(max_examples=300)
@given(st.integers(0, 1200))
def test_a_file_cut_anywhere_is_refused(open_bytes: Open, length: int) -> None:
    content = forge_checkpoint(PICKLE, STORAGES)
    if length < len(content):
        with pytest.raises(CheckpointError):
            open_bytes(content[:length])


def test_a_truncated_file_is_reported_with_its_missing_bytes(open_bytes: Open) -> None:
    content = saved({"x": torch.ones(5000), "y": torch.ones(7)})
    with pytest.raises(
        CheckpointError, match=r"at least ([\d,]+) bytes are missing at its end: it has 3,000$"
    ) as caught:
        open_bytes(content[:3000])
    said = int(re.search(r"least ([\d,]+)", caught.value.message)[1].replace(",", ""))  # type: ignore[index]
    assert 4 * 5007 - 3000 <= said <= len(content) - 3000
