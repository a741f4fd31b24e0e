import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import UsageError
from magnetar.events import Began, Ended, Event, Moved
from magnetar.findings import Outcome
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.checks.levels import Level
from magnetar.model.machine.machine import Machine
from magnetar.model.training.pack_release import write_release
from tests import needs
from tests.model.conftest import WriteRelease
from tests.model.forge import DENSE, TINY, make_model

TEXT = smoke_text().text[:8000]


@pytest.fixture(scope="module")
def healthy() -> BootReport:
    return boot(BootRequest(bundled_release(), text=TEXT))


def test_the_bundled_release_boots(healthy: BootReport) -> None:
    assert healthy.healthy, healthy.reasons
    assert healthy.outcome is Outcome.GOOD
    assert healthy.text_bytes == len(TEXT.encode())
    assert healthy.bits_per_byte is not None
    assert 1 < healthy.bits_per_byte < 1.7
    assert healthy.decode_difference is not None
    assert healthy.decode_difference < 1e-5
    assert healthy.sample is not None
    assert healthy.sample.startswith(TEXT[:20])
    assert [len(shares) for shares in healthy.expert_load] == [8] * 4
    assert healthy.layout == "mistral"
    assert json.loads(json.dumps(asdict(healthy)))["healthy"] is True


def test_a_converted_copy_comes_to_the_same_numbers(healthy: BootReport, tmp_path: Path) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "hf", target="hf"))
    report = boot(BootRequest(tmp_path / "hf", text=TEXT, expected=healthy.bits_per_byte, tolerance=1e-9))
    assert report.healthy, report.reasons
    assert report.layout == "hf"
    assert report.weights == healthy.weights, "the same tensors, whatever the layout"
    assert report.expert_load == healthy.expert_load
    assert report.sample == healthy.sample


def test_without_a_text_as_much_of_the_held_out_text_is_scored_as_takes_seconds() -> None:
    report = boot(BootRequest(bundled_release(), sample_tokens=1))
    assert report.healthy, report.reasons
    assert report.tokens == 23552
    assert any("23552 of" in assumption for assumption in report.assumptions)


def test_progress_is_told_layer_by_layer() -> None:
    events: list[Event] = []
    boot(BootRequest(bundled_release(), text=TEXT[:200], sample_tokens=1), emit=events.append)
    assert events == [Began("boot", 4, "layers"), *[Moved("boot", 1)] * 4, Ended("boot")]


Damage = Callable[[dict[str, torch.Tensor]], None]


def damaged(model: Mixtral, damage: Damage) -> Mixtral:
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    damage(weights)
    model.load_state_dict(weights, strict=True, assign=True)
    return model


def permute_rotary_rows(weights: dict[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        heads = {"wq": 4, "wk": 2}.get(name.removesuffix(".weight")[-2:])
        if heads:
            rows, columns = weight.shape
            weights[name] = weight.view(heads, -1, 2, columns).transpose(1, 2).reshape(rows, columns)


def swap_gate_and_up(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if name.endswith(".w1.weight")]:
        other = name.replace(".w1.", ".w3.")
        weights[name], weights[other] = weights[other], weights[name]


def rotate_experts(weights: dict[str, torch.Tensor]) -> None:
    moved = dict(weights)
    for name in weights:
        found = re.fullmatch(r"(.*\.experts\.)(\d)(\..*)", name)
        if found:
            moved[name] = weights[f"{found[1]}{(int(found[2]) + 1) % 8}{found[3]}"]
    weights.update(moved)


def empty_an_expert(weights: dict[str, torch.Tensor]) -> None:
    weights["layers.2.feed_forward.experts.5.w2.weight"].zero_()


def empty_a_router(weights: dict[str, torch.Tensor]) -> None:
    weights["layers.1.feed_forward.gate.weight"].zero_()


def spoil_a_layer(weights: dict[str, torch.Tensor]) -> None:
    weights["layers.3.attention.wo.weight"][0, 0] = math.nan


def spoil_the_output(weights: dict[str, torch.Tensor]) -> None:
    weights["output.weight"][0, 0] = math.inf


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (permute_rotary_rows, "where .* was expected"),
        (swap_gate_and_up, "where .* was expected"),
        (rotate_experts, "where .* was expected"),
        (empty_an_expert, r"layers\.2\.feed_forward\.experts\.5\.w2\.weight: holds nothing but zeros"),
        (empty_a_router, "layer 1: no token went to expert"),
        (spoil_a_layer, "layer 3: its activations are not finite"),
        (spoil_the_output, "output: its logits are not finite"),
    ],
)
def test_damage_is_found_and_named(
    damage: Damage, reason: str, bundled: Mixtral, healthy: BootReport, release: WriteRelease
) -> None:
    report = boot(
        BootRequest(release(damaged(bundled, damage)), text=TEXT, expected=healthy.bits_per_byte, diagnose=False)
    )
    assert not report.healthy
    assert report.outcome is Outcome.BAD
    assert any(re.search(reason, line) for line in report.reasons), report.reasons
    json.dumps(asdict(report), allow_nan=False)


def test_a_wrong_theta_misses_the_expected_score(bundled: Mixtral, healthy: BootReport, release: WriteRelease) -> None:
    folder = release(bundled)
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps({**params, "rope_theta": 1e4}))
    report = boot(BootRequest(folder, text=TEXT, expected=healthy.bits_per_byte, diagnose=False))
    assert [reason for reason in report.reasons if "was expected" in reason]


def test_a_score_that_is_too_good_is_not_the_expected_one_either(healthy: BootReport) -> None:
    assert healthy.bits_per_byte is not None
    report = boot(BootRequest(bundled_release(), text=TEXT, expected=healthy.bits_per_byte * 1.02, diagnose=False))
    assert not report.healthy


def test_random_weights_are_no_better_than_guessing(release: WriteRelease) -> None:
    report = boot(BootRequest(release(make_model(replace(TINY, vocab_size=1024))), text=TEXT[:2000]))
    assert any("guessing" in reason for reason in report.reasons)


def test_a_dense_model_has_no_load(release: WriteRelease) -> None:
    report = boot(BootRequest(release(make_model(replace(DENSE, vocab_size=1024))), text=TEXT[:2000]))
    assert report.expert_load == ()
    assert report.routing_entropy is None
    assert report.total_parameters == report.active_parameters


def test_a_model_too_large_for_memory_gives_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnetar.model.machine.machine.MAX_HELD_BYTES", 1000)
    report = boot(BootRequest(bundled_release(), text=TEXT[:2000]))
    assert report.healthy
    assert report.sample is None
    assert any("no sample" in assumption for assumption in report.assumptions)


def test_decoding_that_strays_from_the_full_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from magnetar.model.architecture.mixtral import KeyValues

    extend = KeyValues.extend
    monkeypatch.setattr(KeyValues, "extend", lambda self, start, k, v: extend(self, start, k * 1.01, v))
    report = boot(BootRequest(bundled_release(), text=TEXT[:2000]))
    assert any("decoding token by token strays" in reason for reason in report.reasons)


def test_a_missing_tensor_is_named(bundled: Mixtral, pieces: bytes, tmp_path: Path) -> None:
    weights = bundled.state_dict()
    del weights["layers.2.feed_forward.experts.7.w3.weight"]
    write_release(tmp_path, weights, bundled.architecture, pieces, "notes")
    report = boot(BootRequest(tmp_path))
    assert report.outcome is Outcome.BAD
    assert "layers.2.feed_forward.experts.7.w3.weight is missing" in report.reasons[0]
    assert [(level.name, level.outcome) for level in report.levels] == [
        ("structure", "bad"),
        ("content", "good"),
        ("forward", "unknown"),
        ("golden", "unknown"),
    ]


def test_a_missing_tokenizer_is_said_with_what_to_do_and_the_rest_is_looked_at(
    bundled: Mixtral, release: WriteRelease
) -> None:
    folder = release(bundled)
    (folder / "tokenizer.model").unlink()
    report = boot(BootRequest(folder))
    assert report.outcome is Outcome.BAD
    assert re.search(r"no tokenizer\.model.*put the release's", report.reasons[0])
    assert [(level.name, level.outcome) for level in report.levels] == [
        ("structure", "good"),
        ("content", "good"),
        ("forward", "unknown"),
        ("golden", "unknown"),
    ]


def test_a_tokenizer_with_more_pieces_than_the_weights_is_refused(release: WriteRelease) -> None:
    report = boot(BootRequest(release(make_model(TINY))))
    assert not report.healthy
    assert "has 1024 pieces, and the weights know 64" in report.reasons[0]


def test_levels_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnetar.model.machine.require_torch.find_spec", lambda _name: None)  # these need no torch
    report = boot(BootRequest(bundled_release(), levels=[Level.CONTENT, Level.STRUCTURE]))
    assert [level.name for level in report.levels] == ["structure", "content"]
    assert report.healthy
    assert report.bits_per_byte is None


def test_a_run_that_takes_more_memory_than_is_allowed_is_not_begun() -> None:
    report = boot(BootRequest(bundled_release(), text=TEXT[:2000], machine=Machine(max_memory=100_000_000)))
    assert not report.healthy
    assert re.search(r"running takes about [\d,]+ bytes, and 100,000,000 are allowed", report.reasons[0])


def test_computing_in_bfloat16_strays_no_further_than_is_allowed_for_it(healthy: BootReport) -> None:
    golden = bundled_golden()
    report = boot(
        BootRequest(
            bundled_release(), text=TEXT, golden=golden, expected=healthy.bits_per_byte, machine=Machine(dtype="bf16")
        )
    )
    assert report.healthy, report.reasons
    assert report.golden is not None
    assert report.golden.divergence > 1e-5
    assert report.decode_difference is not None
    assert report.decode_difference > 1e-4


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        boot(BootRequest(bundled_release(), machine=Machine(device="cuda")))


def test_a_machine_with_too_little_memory_is_told_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 64000000 kB\nMemAvailable: 100000 kB\n")
    monkeypatch.setattr("magnetar.model.machine.memory.MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr("magnetar.model.machine.memory.GROUP_LIMIT", tmp_path / "none")
    report = boot(BootRequest(bundled_release(), text=TEXT[:2000]))
    assert report.outcome is Outcome.BAD
    assert re.search(r"running takes about [\d,]+ bytes, and 102,400,000 are left", report.reasons[0])
    assert [level.outcome for level in report.levels] == ["good", "good", "unknown", "unknown"]


def test_the_limit_of_a_container_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable: 64000000 kB\n")
    (tmp_path / "limit").write_text("5000000\n")
    monkeypatch.setattr("magnetar.model.machine.memory.MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr("magnetar.model.machine.memory.GROUP_LIMIT", tmp_path / "limit")
    assert Machine().limit == 5_000_000
    assert Machine(max_memory=7).limit == 7
    (tmp_path / "limit").write_text("max\n")
    assert Machine().limit == 64_000_000 * 1024
    monkeypatch.setattr("magnetar.model.machine.memory.MEMINFO", tmp_path / "none")
    assert Machine().limit is None


def test_the_report_says_who_answered_each_token(healthy: BootReport) -> None:
    shown = healthy.routed_text
    assert shown is not None
    assert len(shown.pieces) == 256
    assert "".join(shown.pieces[1:20]).strip() in TEXT
    assert [len(layer) for layer in shown.chosen] == [256] * 4
    assert {len(set(token)) for layer in shown.chosen for token in layer} == {2}


def test_late_positions_are_predicted_better_than_early_ones(healthy: BootReport) -> None:
    assert healthy.early_bits is not None
    assert healthy.late_bits is not None
    assert healthy.late_bits < healthy.early_bits
    assert len(healthy.residual_rms) == 4


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        boot(BootRequest(bundled_release(), text=""))


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnetar.model.machine.require_torch.find_spec", lambda _name: None)
    with pytest.raises(UsageError) as caught:
        boot(BootRequest(bundled_release()))
    assert "magnetar[boot]" in caught.value.hint


def test_the_names_that_commands_need_come_without_torch() -> None:
    code = """
        import sys
        import magnetar.model.bundled, magnetar.model.boot.boot_request
        import magnetar.model.boot.judge, magnetar.model.boot.boot
        magnetar.model.bundled.smoke_text(), magnetar.model.bundled.bundled_release()
        sys.exit("torch" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


PEAK = """
    import sys
    from pathlib import Path
    from magnetar.model.machine import machine
    from magnetar.model.boot.boot import boot
    from magnetar.model.boot.boot_request import BootRequest

    machine.MAX_HELD_BYTES = 0
    boot(BootRequest(Path(sys.argv[1]), text=sys.argv[2]))
    print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


LIMITED = """
    import sys
    from pathlib import Path
    from magnetar.model.machine.machine import Machine
    from magnetar.model.boot.boot import boot
    from magnetar.model.boot.boot_request import BootRequest

    machine = Machine(max_memory=int(sys.argv[3]))
    path, text = Path(sys.argv[1]), sys.argv[2]
    report = boot(BootRequest(path, text=text, sample_tokens=2, machine=machine, diagnose=False))
    print(report.peak_memory, report.sample is not None)
"""


@needs.linux
@pytest.mark.parametrize(("limit", "sampled"), [(370 << 20, "False"), (600 << 20, "True")])
def test_no_more_memory_is_taken_than_is_allowed(limit: int, sampled: str, pieces: bytes, tmp_path: Path) -> None:
    architecture = replace(TINY, dim=256, hidden_dim=1024, n_layers=6, n_experts=8, vocab_size=1024)
    write_release(tmp_path, make_model(architecture).state_dict(), architecture, pieces, "notes")
    command = [sys.executable, "-c", dedent(LIMITED), str(tmp_path), TEXT[:1500], str(limit)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, written = done.stdout.split()
    assert int(peak) < limit
    assert written == sampled


@needs.linux
def test_memory_is_that_of_an_expert_and_does_not_grow_with_the_layers(pieces: bytes, tmp_path: Path) -> None:
    peaks = {}
    wide = replace(TINY, dim=256, hidden_dim=1024, n_experts=8, vocab_size=1024)
    for n_layers in (2, 7):
        architecture = replace(wide, n_layers=n_layers)
        folder = tmp_path / str(n_layers)
        write_release(folder, make_model(architecture).state_dict(), architecture, pieces, "notes")
        command = [sys.executable, "-c", dedent(PEAK), str(folder), TEXT[:1500]]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[n_layers] = int(done.stdout) * 1024
    expert = 3 * 4 * wide.dim * wide.hidden_dim
    assert peaks[7] - peaks[2] < 4 * expert  # five more layers have forty
