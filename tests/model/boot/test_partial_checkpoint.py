"""Weights that are no whole model of a family that is known: what can be looked at is looked at."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError, UnsafePickle
from magnetar.findings import Outcome
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_release, smoke_text
from magnetar.model.checks.levels import Level
from magnetar.model.compare.comparison import OtherCheckpoint


def verdicts(report: BootReport) -> dict[str, str]:
    return {level.name: level.outcome.value for level in report.levels}


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A model of another family, one of whose matrices is empty, and whose last layer is far too large."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"model.layers.{layer}.self_attn.q_proj.weight": torch.randn(16, 16, generator=generator) for layer in range(8)
    }
    weights["model.layers.7.self_attn.q_proj.weight"] *= 100
    weights["model.embed_tokens.weight"] = torch.randn(20, 16, generator=generator)
    weights["model.embed_tokens.weight"][3] = 0  # a piece that no text had
    weights["model.layers.1.mlp.down_proj.weight"] = torch.zeros(16, 16)
    weights["model.layers.1.mlp.zeros"] = torch.zeros(4, dtype=torch.int32)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return tmp_path


def test_a_model_of_another_family_is_named_and_its_numbers_are_looked_at(stranger: Path) -> None:
    report = boot(BootRequest(stranger))
    assert report.outcome is Outcome.BAD
    assert verdicts(report) == {"structure": "bad", "content": "bad", "forward": "unknown", "golden": "unknown"}
    assert "model_type is 'qwen2'" in report.reasons[0]
    assert [(f.kind, f.subject) for f in report.levels[1].findings] == [
        ("all-zero", "model.layers.1.mlp.down_proj.weight"),
        ("outlier", "model.layers.7.self_attn.q_proj.weight"),
    ]
    assert "10 tensors" in report.levels[1].remark
    assert "1 of other formats were not looked at" in report.levels[1].remark
    assert report.active_parameters is None


def test_why_it_is_not_run_is_said_whichever_level_is_asked(stranger: Path) -> None:
    for level in Level:
        report = boot(BootRequest(stranger, levels=[level]))
        assert len(report.levels) == 1
        assert not report.healthy
        assert "qwen2" in report.reasons[0]


def test_weights_without_a_configuration_are_looked_at(tmp_path: Path) -> None:
    shutil.copy(bundled_release() / "consolidated.00.pth", tmp_path)
    report = boot(BootRequest(tmp_path))
    assert verdicts(report) == {"structure": "bad", "content": "good", "forward": "unknown", "golden": "unknown"}
    assert "put the release's params.json beside them" in report.reasons[0]


def test_a_download_that_did_not_end_is_looked_at_as_far_as_it_came(tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "hf", target="hf", shard_size=2_000_000))
    second, third = (tmp_path / "hf" / f"model-0000{i}-of-00004.safetensors" for i in (2, 3))
    second.unlink()
    third.write_bytes(third.read_bytes()[:-1000])
    report = boot(BootRequest(tmp_path / "hf"))
    assert report.outcome is Outcome.BAD
    assert verdicts(report) == {"structure": "bad", "content": "good", "forward": "unknown", "golden": "unknown"}
    assert "shard model-00002-of-00004.safetensors is missing; fetch the release again" in report.reasons[0]
    assert "model-00003-of-00004.safetensors: 1000 bytes are missing" in report.reasons[1]
    assert "model-00001-of-00004.safetensors, model-00004-of-00004.safetensors" in report.assumptions[0]


def test_what_is_damaged_in_the_part_that_came_is_found(tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "gguf", target="gguf", shard_size=2_000_000))
    first, second, *_ = sorted((tmp_path / "gguf").glob("*.gguf"))
    second.unlink()
    content = bytearray(first.read_bytes())
    content[-4096:] = bytes(4096)
    first.write_bytes(content)
    report = boot(BootRequest(tmp_path / "gguf", levels=[Level.CONTENT]))
    assert [finding.kind for finding in report.levels[0].findings] == ["layout", "zero-run"]


def test_a_file_that_cannot_be_read_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "consolidated.00.pth"
    shutil.copy(bundled_release() / "params.json", tmp_path)
    path.write_bytes((bundled_release() / "consolidated.00.pth").read_bytes()[:-5000])
    with pytest.raises(CheckpointError):
        boot(BootRequest(tmp_path))


def test_a_pickle_that_would_run_something_is_refused_whatever_lies_beside_it(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("run",)

    shutil.copy(bundled_release() / "params.json", tmp_path)
    torch.save({"w": Runs()}, tmp_path / "consolidated.00.pth")
    with pytest.raises(UnsafePickle):
        boot(BootRequest(tmp_path))


def test_a_quantised_file_of_a_kind_that_cannot_be_run_is_told_by_its_dtype(tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "hf", target="hf"))
    path = tmp_path / "hf" / "model.safetensors"
    weights = load_file(path)
    narrow = {name: torch.ones_like(w, dtype=torch.int8) if ".w2." in name else w for name, w in weights.items()}
    save_file(narrow, path)
    report = boot(BootRequest(tmp_path / "hf"))
    assert verdicts(report) == {"structure": "bad", "content": "good", "forward": "unknown", "golden": "unknown"}
    assert "is stored as I8, like 31 others" in report.reasons[0]


def test_quantised_blocks_that_nobody_here_can_read_leave_the_levels_that_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "q8", target="gguf", dtype="q8_0"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    report = boot(BootRequest(tmp_path / "q8"))
    assert report.outcome is Outcome.BAD
    assert verdicts(report) == {"structure": "bad", "content": "good", "forward": "unknown", "golden": "unknown"}
    assert all("is stored as Q8_0" in reason and "magnetar[gguf]" in reason for reason in report.reasons)
    assert report.levels[1].remark.startswith("13 tensors")
    other = boot(
        BootRequest(bundled_release(), text=smoke_text().text[:2000], against=OtherCheckpoint(tmp_path / "q8"))
    )
    assert verdicts(other)["forward"] == "good"
    assert "magnetar[gguf]" in other.reasons[0]


def test_numbers_of_a_strange_model_are_looked_at_as_far_as_they_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "q8", target="gguf", dtype="q8_0"))
    path = tmp_path / "q8" / "model.gguf"
    path.write_bytes(path.read_bytes().replace(b"llama", b"lhama"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    report = boot(BootRequest(path))
    assert report.outcome is Outcome.BAD
    assert "of other formats were not looked at" in report.levels[1].remark


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_the_quantised_blocks_of_gguf_are_run_as_the_numbers_that_they_stand_for(dtype: str, tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / dtype, target="gguf", dtype=dtype))
    report = boot(BootRequest(tmp_path / dtype, text=smoke_text().text[:2000], sample_tokens=0))
    assert report.healthy, report.reasons
    assert report.bits_per_byte is not None
