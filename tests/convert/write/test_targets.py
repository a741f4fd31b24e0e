"""What is written beside hf: tensors under their own names, the publisher's form, and numbers in other formats."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.convert import Converted, convert, forecast
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import ConversionError, LayoutError, UsageError
from magnetar.events import Emit, Event, Remarked, ignore
from tests.convert.forge import DENSE, MOE, Tensors, random_tensors, raw, write_release


def bytes_of(tensors: Tensors) -> dict[str, bytes]:
    return {name: raw(tensor) for name, tensor in tensors.items()}


def convert_to(target: str, source: Path, destination: Path, *, emit: Emit = ignore, **options: Any) -> Converted:
    return convert(ConvertRequest(source, destination, target=target, licence="Apache-2.0", **options), emit)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_names_as_they_are_give_the_file_of_the_safetensors_library(release: Path, tmp_path: Path, out: Path) -> None:
    assert convert_to("safetensors", release, out).verified
    save_file(torch.load(release / "consolidated.00.pth"), tmp_path / "theirs.safetensors")
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert (out / "params.json").read_bytes() == (release / "params.json").read_bytes()


def test_names_as_they_are_need_neither_a_known_model_nor_a_configuration(tmp_path: Path, out: Path) -> None:
    tensors = {"a.b": torch.arange(12, dtype=torch.int64), "c": torch.randn(3, 5), "f": torch.zeros(2).bool()}
    torch.save(tensors, tmp_path / "any.pt")
    assert convert_to("safetensors", tmp_path / "any.pt", out, shard_size=100).verified
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": 29, "total_size": 158}
    found = {name: load_file(out / file)[name] for name, file in index["weight_map"].items()}
    assert bytes_of(found) == bytes_of(tensors)


@pytest.mark.parametrize("architecture", [MOE, DENSE], ids=["moe", "dense"])
@pytest.mark.parametrize("layout", ["mistral", "mistral-fused", "hf", "hf-fused", "mlx", "gguf"])
def test_the_publishers_form_is_made_of_any_layout(
    architecture: Architecture, layout: str, tmp_path: Path, out: Path
) -> None:
    if architecture is DENSE and layout not in ("mistral", "hf", "gguf"):
        return
    source = write_release(tmp_path / "source", architecture, random_tensors(architecture, layout))
    assert convert_to("mistral", source, out).verified
    found = load_file(out / "consolidated.safetensors")
    with open_source(out) as written:
        assert (written.layout, written.architecture) == ("mistral", architecture)
    assert convert_to("hf", source, tmp_path / "hf").verified
    assert convert_to("mistral", tmp_path / "hf", tmp_path / "again").verified
    assert bytes_of(load_file(tmp_path / "again" / "consolidated.safetensors")) == bytes_of(found)
    if layout == "mistral":
        assert bytes_of(found) == bytes_of(random_tensors(architecture))


def test_the_publishers_params_always_state_theta(release: Path, tmp_path: Path, out: Path) -> None:
    assert "rope_theta" not in json.loads((release / "params.json").read_text())
    (release / "tokenizer.model").write_bytes(b"\x0a\x00")
    convert_to("mistral", release, out)
    assert json.loads((out / "params.json").read_text())["rope_theta"] == 1e6
    assert (out / "tokenizer.model").read_bytes() == b"\x0a\x00"


def test_the_publishers_form_is_one_file(release: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="one file"):
        convert_to("mistral", release, out, shard_size=1000)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_cast_rounds_as_torch_does(dtype: str, stored: torch.dtype, tmp_path: Path, out: Path) -> None:
    tensors = random_tensors(MOE, dtype=stored)
    release = write_release(tmp_path / "release", MOE, tensors)
    assert convert_to("mistral", release, out, dtype=dtype).verified
    wanted = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}[dtype]
    through = torch.float32 if stored is torch.float64 and wanted is torch.bfloat16 else stored
    expected = {name: tensor.to(through).to(wanted) for name, tensor in tensors.items()}
    assert bytes_of(load_file(out / "consolidated.safetensors")) == bytes_of(expected)


def test_a_cast_also_turns_and_is_read_back_through_the_sources_layout(tmp_path: Path, out: Path) -> None:
    tensors = random_tensors(MOE, "mistral-fused")
    release = write_release(tmp_path / "release", MOE, tensors)
    converted = convert_to("hf", release, out, dtype="f32")
    assert converted.verified
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    assert "35 from BF16 to F32" in (out / "CONVERSION.md").read_text()
    w2 = load_file(out / "model.safetensors")["model.layers.1.block_sparse_moe.experts.2.w2.weight"]
    fused = tensors["layers.1.block_sparse_moe.w2"].view(3, 24, 16)
    torch.testing.assert_close(w2, fused[2].T.float(), rtol=0, atol=0)


def test_numbers_too_large_for_a_dtype_are_counted_and_refused(tmp_path: Path, out: Path) -> None:
    tensors = random_tensors(MOE)
    tensors["layers.1.attention.wo.weight"][3, 2:5] = 1e20
    tensors["layers.1.attention.wo.weight"][4, 4] = float("inf")  # was infinite before: not our doing
    release = write_release(tmp_path / "release", MOE, tensors)
    with pytest.raises(
        ConversionError, match=r"3 of the 512 numbers of .*layers\.1.*o_proj.* too large for F16"
    ) as caught:
        convert_to("hf", release, out, dtype="f16")
    assert caught.value.tensor == "model.layers.1.self_attn.o_proj.weight"
    assert not (out / "config.json").exists()
    events: list[Event] = []
    assert convert_to("hf", release, tmp_path / "b", dtype="f16", allow_overflow=True, emit=events.append).verified
    assert any(isinstance(event, Remarked) and "3 of the 512" in event.text for event in events)


def test_what_is_no_float_is_not_cast(tmp_path: Path, out: Path) -> None:
    tensors = {"ids": torch.arange(5), "w": torch.randn(4), "q": torch.zeros(3).to(torch.float8_e4m3fn)}
    torch.save(tensors, tmp_path / "any.pt")
    convert_to("safetensors", tmp_path / "any.pt", out, dtype="f16")
    dtypes = {name: tensor.dtype for name, tensor in load_file(out / "model.safetensors").items()}
    assert dtypes == {"ids": torch.int64, "w": torch.float16, "q": torch.float8_e4m3fn}


def test_unknown_targets_and_dtypes_are_refused_with_those_that_there_are(release: Path, out: Path) -> None:
    with pytest.raises(UsageError) as caught:
        convert_to("onnx", release, out)
    assert "mistral" in caught.value.hint
    with pytest.raises(UsageError, match="'int3'"):
        forecast(ConvertRequest(release, out, dtype="int3"))
    with pytest.raises((UsageError, LayoutError)):
        forecast(ConvertRequest(release, out, target="mistral", dtype="q8_0"))
