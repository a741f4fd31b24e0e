import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import BootError, CheckpointError
from magnetar.findings import Outcome
from magnetar.manifests.hashing.digests import Digest
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.boot.boot import boot, make_golden
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_golden, bundled_release, find_golden, smoke_text
from magnetar.model.checks.allowances import allowance_for
from magnetar.model.checks.golden import compare_fingerprints
from magnetar.model.run.fingerprint import Fingerprint, is_like, read_fingerprint
from tests.model.conftest import WriteRelease
from tests.model.forge import TINY, make_model

TEXT = smoke_text().text[:4000]


def boot_against_golden(path: Path, **more: bool) -> BootReport:
    return boot(BootRequest(path, text=TEXT, golden=bundled_golden(), sample_tokens=1, **more))  # type: ignore[arg-type]


def exchange_experts(model: Mixtral) -> None:
    experts = model.layers[2].feed_forward.experts
    for matrix in ("w1", "w2", "w3"):
        one, other = (getattr(experts[e], matrix).weight for e in (3, 6))
        kept = one.clone()
        one.copy_(other)
        other.copy_(kept)


def split_rotary_rows(model: Mixtral) -> None:
    for layer in model.layers:
        for matrix, heads in ((layer.attention.wq, 4), (layer.attention.wk, 2)):
            weight = matrix.weight
            weight.copy_(weight.view(heads, -1, 2, 128).transpose(1, 2).reshape(weight.shape))


def test_the_bundled_fingerprint_is_that_of_the_bundled_release(tmp_path: Path) -> None:
    path = tmp_path / "again.safetensors"
    path.write_bytes(make_golden(bundled_release()))
    ours, shipped = read_fingerprint(path), read_fingerprint(bundled_golden())
    assert is_like(ours, shipped)
    assert path.stat().st_size < 64_000
    at_shipped = ours.logsumexp[:, None] + shipped.top_logits - shipped.logsumexp[:, None]
    assert compare_fingerprints(shipped, ours, at_shipped, allowance_for("BF16", shipped)).divergence < 1e-6


def test_a_fingerprint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    shipped = read_fingerprint(bundled_golden())
    assert shipped.encode() == bundled_golden().read_bytes()
    assert shipped.ids.shape == (512,)
    assert shipped.residual_samples.shape == (4, 256)
    assert shipped.expert_counts.sum(1).tolist() == [1024] * 4


def test_a_fingerprint_is_found_by_its_digest() -> None:
    import hashlib

    digest = Digest("sha256", hashlib.sha256(bundled_golden().read_bytes()).hexdigest())
    assert find_golden(digest) == bundled_golden()
    assert find_golden(Digest("sha256", "0" * 64)) is None


def test_the_release_and_its_conversion_do_what_the_fingerprint_says(tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "hf", target="hf"))
    for path in (bundled_release(), tmp_path / "hf"):
        report = boot_against_golden(path)
        assert report.healthy, report.reasons
        assert report.golden is not None
        assert report.golden.divergence < 1e-6
        assert report.golden.agreement == 1


def test_two_experts_exchanged_in_one_layer_are_found_there_and_the_cure_is_named(
    bundled: Mixtral, release: WriteRelease
) -> None:
    exchange_experts(bundled)
    report = boot_against_golden(release(bundled))
    assert report.levels[-1].outcome is Outcome.BAD
    assert report.golden is not None
    assert report.golden.first_diverging == 2
    assert report.diagnosis is not None
    assert report.diagnosis.cure is not None
    assert report.diagnosis.cure.name == "experts 3 and 6 exchanged in layer 2"
    assert report.diagnosis.cure.bits_per_byte < (report.diagnosis.cure.before or 0)


def test_rotary_rows_in_the_wrong_order_are_named_with_and_without_a_fingerprint(
    bundled: Mixtral, release: WriteRelease
) -> None:
    healthy = boot(BootRequest(bundled_release(), text=TEXT, sample_tokens=1)).bits_per_byte
    split_rotary_rows(bundled)
    folder = release(bundled)
    for golden in (None, bundled_golden()):
        report = boot(BootRequest(folder, text=TEXT, expected=healthy, golden=golden, sample_tokens=1))
        assert report.diagnosis is not None
        assert report.diagnosis.cure is not None
        assert report.diagnosis.cure.name == "rotary rows of q and k interleaved"
        command = "magnetar convert RELEASE release-again --to mistral"
        assert report.diagnosis.cure.advice.endswith(command)


def test_two_faults_are_said_to_have_no_one_cure_and_the_one_that_helps_is_named(
    bundled: Mixtral, release: WriteRelease
) -> None:
    split_rotary_rows(bundled)
    bundled.layers[1].attention.wo.weight.mul_(torch.linspace(0.5, 1.5, 128))
    report = boot_against_golden(release(bundled))
    assert not report.healthy
    assert report.diagnosis is not None
    assert report.diagnosis.cure is None
    assert report.diagnosis.nearest is not None, "one of the two faults is known"
    assert report.diagnosis.nearest.name == "rotary rows of q and k interleaved"
    assert len(report.diagnosis.tried) > 50
    assert boot_against_golden(release(bundled), diagnose=False).diagnosis is None


def test_without_a_tokenizer_the_fingerprints_own_text_is_run(bundled: Mixtral, release: WriteRelease) -> None:
    folder = release(bundled)
    (folder / "tokenizer.model").unlink()
    report = boot_against_golden(folder)
    assert report.healthy, report.reasons
    assert report.levels[-1].outcome is Outcome.GOOD
    assert report.bits_per_byte is None


def test_a_model_that_guesses_has_no_fingerprint(release: WriteRelease) -> None:
    with pytest.raises(BootError, match="no better than guessing"):
        make_golden(release(make_model(replace(TINY, vocab_size=1024))))


def test_a_model_that_gives_no_numbers_has_no_fingerprint(bundled: Mixtral, release: WriteRelease) -> None:
    bundled.output.weight[0, 0] = float("nan")
    with pytest.raises(BootError, match="not finite"):
        make_golden(release(bundled))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logsumexp": np.zeros(3, np.float32)}, "other positions"),
        ({"expert_counts": np.zeros((2, 8), np.int32)}, "one row for each layer"),
        ({"top_logits": np.full((512, 8), np.nan, np.float32)}, "not finite"),
    ],
)
def test_a_fingerprint_that_cannot_be_is_refused(change: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    shipped = read_fingerprint(bundled_golden())
    path = tmp_path / "odd.safetensors"
    path.write_bytes(replace(shipped, **change).encode())
    with pytest.raises(CheckpointError, match=message):
        read_fingerprint(path)


def test_what_is_no_fingerprint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(CheckpointError, match="lacks"):
        read_fingerprint(path)
    path.write_bytes(bundled_golden().read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="missing at its end"):
        read_fingerprint(path)


def test_a_fingerprint_of_another_model_is_not_held_against_this_one() -> None:
    shipped = read_fingerprint(bundled_golden())
    other: Fingerprint = replace(shipped, expert_counts=shipped.expert_counts[:, :4])
    assert not is_like(shipped, other)


def test_a_fingerprint_with_pieces_that_the_model_does_not_know_is_not_run(tmp_path: Path) -> None:
    shipped = read_fingerprint(bundled_golden())
    path = tmp_path / "other.safetensors"
    path.write_bytes(replace(shipped, ids=shipped.ids + 31000).encode())
    report = boot(BootRequest(bundled_release(), text=TEXT[:1000], golden=path, sample_tokens=1))
    assert report.healthy, report.reasons
    assert report.levels[-1].outcome is Outcome.UNKNOWN
    assert "another shape of model" in report.levels[-1].remark


@pytest.mark.parametrize("dtype", ["q8_0", "f16"])
def test_a_narrower_copy_is_allowed_what_its_format_costs_and_no_more(dtype: str, tmp_path: Path) -> None:
    expected = boot(BootRequest(bundled_release(), text=TEXT, sample_tokens=1)).bits_per_byte
    convert(ConvertRequest(bundled_release(), tmp_path / dtype, target="gguf", dtype=dtype))
    shutil.copy(bundled_release() / "tokenizer.model", tmp_path / dtype)
    report = boot(BootRequest(tmp_path / dtype, text=TEXT, expected=expected, golden=bundled_golden(), sample_tokens=1))
    assert report.healthy, report.reasons
    assert report.golden is not None
    assert 0 < report.golden.divergence < report.golden.allowance.divergence
    shipped = read_fingerprint(bundled_golden())
    assert allowance_for("BF16", shipped).divergence < report.golden.allowance.divergence
