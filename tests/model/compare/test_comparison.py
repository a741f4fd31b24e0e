import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError, UsageError
from magnetar.findings import Outcome
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.checks.levels import Level
from magnetar.model.compare import http_json
from magnetar.model.compare.comparison import OtherCheckpoint
from magnetar.model.compare.server import MAX_ASKED_TOKENS, Server
from magnetar.model.machine.machine import Machine
from tests import needs
from tests.model.compare.servers import (
    Answer,
    like_vllm,
    llama_cpp,
    overflow,
    redirect,
    refuse,
    say,
    serve,
    stall,
    trickle,
)
from tests.model.conftest import WriteRelease
from tests.patience import PATIENCE

BUNDLED = bundled_release()
TEXT = smoke_text().text[:2000]


def hold_against(other: OtherCheckpoint | Server, path: Path = BUNDLED, **options: Any) -> BootReport:
    return boot(BootRequest(path, text=TEXT, against=other, **{"sample_tokens": 0, "diagnose": False, **options}))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama.cpp's server with the bundled release in 32-bit floats."""
    needs.package("xllamacpp", "xllamacpp")
    folder = tmp_path_factory.mktemp("llama") / "gguf"
    convert(ConvertRequest(bundled_release(), folder, target="gguf", dtype="f32"))
    with llama_cpp(folder / "model.gguf") as running:
        yield running


def test_a_converted_copy_agrees_to_the_last_bit(tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "hf", target="hf"))
    report = hold_against(OtherCheckpoint(tmp_path / "hf"))
    assert report.healthy, report.reasons
    assert report.agreement is not None
    assert report.agreement.tokens == 512
    assert report.agreement.comparison.divergence == 0
    assert report.agreement.comparison.agreement == 1
    assert report.agreement.first_difference is None
    assert report.agreement.excess == 0
    assert report.agreement.bits_per_byte is not None
    assert report.levels[-1].name == "against"
    json.dumps(asdict(report), allow_nan=False)


def test_a_narrower_copy_may_differ_by_what_its_format_costs(tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "q8", target="gguf", dtype="q8_0"))
    agreement = hold_against(OtherCheckpoint(tmp_path / "q8")).agreement
    assert agreement is not None
    assert agreement.kind == "Q8_0"
    assert 0 < agreement.comparison.divergence < agreement.comparison.allowance.divergence
    assert len(agreement.comparison.layer_errors) == 4


def test_our_own_rounding_is_allowed_for() -> None:
    report = hold_against(OtherCheckpoint(BUNDLED), machine=Machine(dtype="bf16"))
    assert report.levels[-1].outcome is Outcome.GOOD
    assert report.agreement is not None
    assert 1e-5 < report.agreement.comparison.divergence < report.agreement.comparison.allowance.divergence


def test_a_copy_with_one_layer_changed_is_told_and_where(bundled: Mixtral, release: WriteRelease) -> None:
    bundled.layers[2].attention.wo.weight.mul_(1.5)
    report = hold_against(OtherCheckpoint(release(bundled)))
    assert report.outcome is Outcome.BAD
    assert report.agreement is not None
    assert report.agreement.comparison.first_diverging == 2
    assert report.levels[-1].outcome is Outcome.BAD
    assert "from layer 2 on" in report.reasons[0]
    assert report.agreement.excess is not None
    assert report.agreement.excess < 0


def test_the_cure_is_named_that_makes_both_agree_where_nothing_else_is_known(
    bundled: Mixtral, release: WriteRelease
) -> None:
    folder = release(bundled)
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps({**params, "rope_theta": 5e5}))
    report = hold_against(OtherCheckpoint(BUNDLED), folder, diagnose=True)
    assert [level.outcome for level in report.levels] == ["good", "good", "good", "unknown", "bad"]
    assert report.diagnosis is not None
    assert report.diagnosis.cure is not None
    assert report.diagnosis.cure.name == "rope theta 1e+06"


def test_weights_as_their_release_has_them_are_not_mended_to_be_like_another(
    bundled: Mixtral, release: WriteRelease
) -> None:
    experts = bundled.layers[2].feed_forward.experts
    experts[3], experts[6] = experts[6], experts[3]
    other = OtherCheckpoint(release(bundled))
    report = hold_against(other, golden=bundled_golden(), diagnose=True)
    assert [level.outcome for level in report.levels] == ["good"] * 4 + ["bad"]
    assert report.diagnosis is None
    assert report.reasons[0].endswith("boot the other to see what is wrong with it")


def test_a_checkpoint_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        OtherCheckpoint(tmp_path / "nowhere")
    (tmp_path / "model.gguf").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="web page"):
        OtherCheckpoint(tmp_path / "model.gguf")


def test_another_that_comes_to_no_numbers_leaves_the_other_levels_as_they_are(
    bundled: Mixtral, release: WriteRelease
) -> None:
    bundled.output.weight[0, 0] = math.nan
    report = hold_against(OtherCheckpoint(release(bundled)))
    assert [level.outcome for level in report.levels[:3]] == ["good"] * 3
    assert report.levels[-1].outcome is Outcome.UNKNOWN
    assert "not finite" in report.reasons[0]


def test_llama_cpps_server_says_what_the_bundled_model_says(address: str) -> None:
    report = hold_against(Server(address))
    assert report.healthy, report.reasons
    agreement = report.agreement
    assert agreement is not None
    assert agreement.tokens == MAX_ASKED_TOKENS
    assert agreement.other.endswith(f"at {address}")
    assert agreement.comparison.agreement > 0.99
    assert agreement.comparison.divergence < 1e-4
    assert agreement.excess is not None
    assert abs(agreement.excess) < 2e-3


def test_llama_cpps_server_shows_what_is_wrong_with_other_weights(
    address: str, bundled: Mixtral, release: WriteRelease
) -> None:
    for layer in bundled.layers:
        weight = layer.attention.wk.weight
        weight.copy_(weight.view(2, -1, 2, 128).transpose(1, 2).reshape(weight.shape))
    report = hold_against(Server(f"{address}/v1/"), release(bundled), diagnose=True)
    assert report.levels[-1].outcome is Outcome.BAD
    assert report.agreement is not None
    assert report.agreement.comparison.divergence > 1
    assert report.agreement.excess is not None
    assert report.agreement.excess > 1
    assert report.diagnosis is not None
    assert report.diagnosis.cure is not None
    assert report.diagnosis.cure.name == "rotary rows of k interleaved"


def test_a_server_that_echoes_as_vllm_does_is_asked_once(bundled: Mixtral) -> None:
    asked = []
    answer = like_vllm(bundled)
    with serve(lambda handler, request: asked.append(request) or answer(handler, request)) as url:  # type: ignore[func-returns-value]
        report = hold_against(Server(url))
    assert report.healthy, report.reasons
    assert [request["path"] for request in asked] == ["/v1/models", "/v1/completions"]
    assert report.agreement is not None
    assert report.agreement.other.startswith("some-model at ")
    assert report.agreement.comparison.agreement == 1
    assert report.agreement.comparison.divergence < 1e-6
    assert report.agreement.excess == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (stall, "did not answer within 0.3 seconds"),
        (trickle, "did not answer within 0.3 seconds"),
        (redirect, r"redirects to http://169\.254\.169\.254/latest, and is not followed"),
        (refuse, "/v1/completions answers 401: Unauthorized"),
        (overflow, "more than 40,000 bytes"),
        (lambda _handler, _asked: b"[" * 4000, "not answered with a JSON object"),
        (lambda _handler, _asked: {"data": [7]}, "lists no model"),
        (say(None), "gives no log probabilities"),
        (say({"content": []}), "gives no log probabilities"),
        (say({"content": [{"logprob": -1.0, "token": "a", "top_logprobs": []}]}), "by their ids"),
        (say({"content": [{"logprob": 3.5, "id": 1, "top_logprobs": []}]}), "'3.5' as a log probability"),
        (say({"content": [{"logprob": math.nan, "id": 1, "top_logprobs": []}]}), "'nan' as a log probability"),
        (say({"content": [{"logprob": -1.0, "id": -1, "top_logprobs": []}]}), "by their ids"),
        (say({"token_logprobs": [None] * 600, "top_logprobs": [None]}), "at 1 of 256 positions"),
        (say({"token_logprobs": [-1.0] * 600, "top_logprobs": [{"the": -1.0}] * 600}), "by their ids"),
    ],
)
def test_a_server_that_misbehaves_is_told_and_every_level_runs(
    answer: Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_json, "MAX_ANSWER_BYTES", 40_000)
    with serve(answer) as url:
        patience = 0.3 if answer in (stall, trickle) else PATIENCE
        report = hold_against(Server(url, timeout=patience), levels=[Level.STRUCTURE])
    assert report.outcome is Outcome.BAD
    assert [level.outcome for level in report.levels] == ["good", "unknown"]
    assert len(report.reasons) == 1
    assert re.search(reason, report.reasons[0]), report.reasons


def test_pieces_that_the_weights_do_not_know_are_no_ground_for_comparison() -> None:
    row = {"token_id:5": -1.0, "token_id:1024": -2.0}
    with serve(say({"token_logprobs": [-1.0] * 600, "top_logprobs": [row] * 600})) as url:
        report = hold_against(Server(url), levels=[Level.STRUCTURE])
    assert "says the piece 1024, and these weights know 1024" in report.reasons[0]


def test_a_server_whose_log_probabilities_are_of_after_the_bias_is_not_believed() -> None:
    def answer(_handler: object, asked: dict[str, Any]) -> object:
        if asked["path"] == "/v1/models":
            return {"data": [{"id": "m"}]}
        led = [int(piece) for piece in asked.get("logit_bias", {"7": 0})]
        steps = [{"id": led[0], "logprob": 0.0 if "logit_bias" in asked else -3.0}]
        return {"choices": [{"logprobs": {"content": [{**steps[0], "top_logprobs": steps}]}}]}

    with serve(answer) as url:
        report = hold_against(Server(url), levels=[Level.STRUCTURE])
    assert "of after logit_bias" in report.reasons[0]


def test_nobody_there_is_said(unused_address: str) -> None:
    report = hold_against(Server(unused_address), levels=[Level.STRUCTURE])
    assert "Connection refused" in report.reasons[0]


@pytest.fixture
def unused_address() -> str:
    with serve(stall) as url:
        return url


def test_a_key_goes_along_as_a_bearer_token_and_is_not_shown() -> None:
    seen = []

    def answer(handler: Any, _asked: dict[str, Any]) -> object:
        seen.append(handler.headers["Authorization"])
        return {"error": {"message": "no"}}

    with serve(answer) as url:
        report = hold_against(Server(url, key="s3cret"), levels=[Level.STRUCTURE])
    assert seen == ["Bearer s3cret"]
    assert "s3cret" not in json.dumps(asdict(report))


@pytest.mark.parametrize("url", ["http://", "http://a:b@c", "http://h:99999", "http://h/?q=1", "http://h\u00e9/"])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Server(url)


def test_a_model_that_cannot_be_run_is_not_compared(bundled: Mixtral, release: WriteRelease) -> None:
    folder = release(bundled)
    (folder / "tokenizer.model").unlink()
    with serve(stall) as url:
        report = hold_against(Server(url), folder)
    assert report.levels[-1].name == "against"
    assert report.levels[-1].remark == "the model was not run"


def test_our_own_numbers_may_be_what_is_missing(bundled: Mixtral, release: WriteRelease) -> None:
    bundled.output.weight[0, 0] = torch.inf
    report = hold_against(OtherCheckpoint(bundled_release()), release(bundled))
    assert "our own logits are not finite" in report.reasons[-1]
