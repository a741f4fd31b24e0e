"""Grok-1's form, on a small model of the same structure: pickles of arrays, some in 8 bits, layers sorted as text."""

import pickle
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from magnetar.byte_source import read_bytes
from magnetar.convert.read.checkpoint_source import open_checkpoint, open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError, LayoutError, UnsafePickle

DIM, HIDDEN, EXPERTS, KEYS, VOCABULARY = 32, 64, 4, 16, 40
MATRICES = {
    0: ("moe.linear", (EXPERTS, DIM, HIDDEN), 1),
    1: ("moe.linear_1", (EXPERTS, HIDDEN, DIM), 8),
    2: ("moe.linear_v", (EXPERTS, DIM, HIDDEN), 1),
    3: ("attention.key", (DIM, KEYS), 1),
    4: ("attention.linear", (DIM, DIM), 8),
    5: ("attention.query", (DIM, DIM), 1),
    6: ("attention.value", (DIM, KEYS), 1),
}


class QuantizedWeight8bit:
    def __init__(self, weight: np.ndarray, scales: np.ndarray) -> None:
        self.weight = weight
        self.scales = scales


QuantizedWeight8bit.__module__ = "model"


@pytest.fixture(params=[2, 4, 5])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    module = types.ModuleType("model")
    module.QuantizedWeight8bit = QuantizedWeight8bit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model", module)
    yield request.param


def write_checkpoint(folder: Path, protocol: int) -> dict[str, np.ndarray]:
    """The files, and the tensors that they stand for, dequantised as the release's own code does."""
    folder.mkdir()
    random = np.random.default_rng(1)
    expected = {}

    def write(number: int, value: object) -> None:
        (folder / f"tensor{number:05}_000").write_bytes(pickle.dumps(value, protocol=protocol))

    for number, (name, shape) in enumerate([("in_out_embed", (VOCABULARY, DIM)), ("rms_norm", (DIM,))]):
        expected[f"{name}.weight"] = random.random(shape, np.float32)
        write(number, expected[f"{name}.weight"])
    for place, layer in enumerate(["0", "1", "10", *"23456789"]):
        for slot in range(12):
            number = 2 + 12 * place + slot
            if slot in MATRICES:
                name, shape, blocks = MATRICES[slot]
                weight = random.integers(-128, 128, shape, np.int8)
                scales = torch.from_numpy(random.random((*shape[:-2], blocks, shape[-1]), np.float32)).bfloat16()
                write(number, QuantizedWeight8bit(weight, scales.view(torch.int16).numpy().view("V2")))
                by_row = scales.float().repeat_interleave(shape[-2] // blocks, -2)
                tensor = (torch.from_numpy(weight).float() * by_row).numpy()
            else:
                name = "router" if slot == 11 else ["rms_norm", "rms_norm_1", "rms_norm_2", "rms_norm_3"][slot - 7]
                tensor = random.random((DIM, EXPERTS) if slot == 11 else (DIM,), np.float32)
                write(number, tensor)
            expected[f"layers.{layer}.{name}.weight"] = tensor
    return expected


@pytest.mark.parametrize("protocol", [4, 5], indirect=True)
def test_every_tensor_is_found_named_and_dequantised(protocol: int, tmp_path: Path) -> None:
    expected = write_checkpoint(tmp_path / "ckpt-0", protocol)
    with open_checkpoint(tmp_path / "ckpt-0") as checkpoint:
        assert checkpoint.container == "Grok-1"
        assert {name: spec.shape for name, spec in checkpoint.specs.items()} == {
            n: a.shape for n, a in expected.items()
        }
        for name, array in expected.items():
            assert bytes(checkpoint.read(name)) == array.tobytes(), name


@pytest.mark.parametrize("protocol", [4], indirect=True)
def test_it_converts_under_its_own_names_and_to_no_other_layout(protocol: int, tmp_path: Path) -> None:
    expected = write_checkpoint(tmp_path / "ckpt-0", protocol)
    assert convert(ConvertRequest(tmp_path / "ckpt-0", tmp_path / "out", target="safetensors", dtype="bf16")).verified
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    name = "layers.10.moe.linear_1.weight"
    assert torch.equal(tensors[name], torch.from_numpy(expected[name]).bfloat16())
    with pytest.raises(LayoutError, match="another family") as caught:
        open_source(tmp_path / "ckpt-0")
    assert "--to safetensors" in caught.value.hint


@pytest.mark.parametrize("protocol", [4], indirect=True)
def test_rows_are_dequantised_right_from_every_offset(protocol: int, tmp_path: Path) -> None:
    expected = write_checkpoint(tmp_path / "ckpt-0", protocol)
    with open_checkpoint(tmp_path / "ckpt-0") as checkpoint:
        spec = checkpoint.specs["layers.3.moe.linear_1.weight"]
        whole = expected[spec.name].tobytes()
        for offset in range(0, len(whole), 997):
            found = read_bytes(checkpoint.sources[spec.source], offset, min(301, len(whole) - offset))
            assert found == whole[offset:][:301]


@pytest.mark.parametrize("protocol", [4], indirect=True)
def test_a_missing_file_a_cut_one_and_one_of_another_size_are_refused(protocol: int, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "ckpt-0", protocol)
    victim = tmp_path / "ckpt-0" / "tensor00003_000"
    content = victim.read_bytes()
    for damaged in (content[:-40], content[:100], b""):
        victim.write_bytes(damaged)
        with pytest.raises((CheckpointError, UnsafePickle), match="tensor00003_000"):
            open_checkpoint(tmp_path / "ckpt-0")
    victim.write_bytes((tmp_path / "ckpt-0" / "tensor00005_000").read_bytes())
    with pytest.raises(CheckpointError, match=r"not those of a tensor of \[4, 64, 32\]"):
        open_checkpoint(tmp_path / "ckpt-0")
    victim.unlink()
    with pytest.raises(CheckpointError, match="133 files are not 2 and 12 for each layer"):
        open_checkpoint(tmp_path / "ckpt-0")


@pytest.mark.parametrize(
    ("hostile", "what"),
    [
        (b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R.", "names 'os'"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.", "names 'posix'"),
        (b"\x80\x02(S'x'\nios\nsystem\n.", "instruction STRING"),
        (b"\x80\x04\x8c\x05numpy.", "holds 0 arrays"),
        (b"\x80\x04N.N", "after its end"),
        (b"\x80\x04B" + struct.pack("<I", 1 << 31) + b"x", "ends inside"),
        (b"\x80\x04" + b"N" * 20_000 + b".", "more instructions"),
        (b"", "instruction that is none"),
    ],
)
@pytest.mark.parametrize("protocol", [4], indirect=True)
def test_what_is_no_array_is_refused(hostile: bytes, what: str, protocol: int, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "ckpt-0", protocol)
    (tmp_path / "ckpt-0" / "tensor00004_000").write_bytes(hostile)
    with pytest.raises((CheckpointError, UnsafePickle), match=what):
        open_checkpoint(tmp_path / "ckpt-0")
