from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.findings import Outcome
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_release
from magnetar.model.checks.content import Survey, judge_content, measure_tensor
from magnetar.model.checks.levels import Level, LevelResult
from tests.model.conftest import WriteRelease
from tests.model.forge import TINY, make_model

Damage = Callable[[dict[str, torch.Tensor]], None]
W1 = "layers.1.feed_forward.experts.3.w1.weight"


def longest_run(numbers: list[float]) -> int:
    return max(len(run) for run in "".join("0" if x == 0 else "1" for x in numbers).split("1"))


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -2.5]), min_size=1, max_size=60), st.integers(1, 9))
def test_facts_are_those_of_the_numbers_wherever_the_chunks_end(numbers: list[float], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("magnetar.model.checks.content.CHUNK", chunk)
        facts = measure_tensor(
            TensorSpec("w", "F32", (len(numbers),), 0, 0, 4 * len(numbers)),
            bytearray(np.array(numbers, "<f4").tobytes()),
        )
    assert max(facts.zero_run, facts.zero_tail) == longest_run(numbers)
    assert facts.zeros == sum(x == 0 for x in numbers)
    assert (facts.smallest, facts.largest) == (min(numbers), max(numbers))
    assert facts.rms == pytest.approx(np.sqrt(np.mean(np.square(numbers))))
    assert facts.finite


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_facts_do_not_depend_on_how_floats_are_stored(dtype: str) -> None:
    numbers = torch.tensor([0.5, -1.0, 0.0, 0.0, 2.0, float("nan"), float("inf")])
    stored = numbers.to({"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}[dtype])
    content = bytearray(stored.view(torch.uint8).numpy().tobytes())
    facts = measure_tensor(TensorSpec("w", dtype, (7,), 0, 0, len(content)), content)
    assert (facts.nan, facts.infinite, facts.zeros, facts.zero_run) == (1, 1, 2, 2)
    assert facts.largest == 2.0


def spoil(name: str, change: Callable[[torch.Tensor], None]) -> Damage:
    return lambda weights: change(weights[name])


def fill_rows(value: float, rows: int) -> Callable[[torch.Tensor], None]:
    def change(weight: torch.Tensor) -> None:
        weight[:rows] = value

    return change


def copy_expert(weights: dict[str, torch.Tensor]) -> None:
    weights[W1] = weights["layers.1.feed_forward.experts.2.w1.weight"]


def tie(weights: dict[str, torch.Tensor]) -> None:
    weights["output.weight"] = weights["tok_embeddings.weight"]


def check_levels(model: Mixtral, damage: Damage, release: WriteRelease) -> Mapping[str, LevelResult]:
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    damage(weights)
    model.load_state_dict(weights, strict=True, assign=True)
    report = boot(BootRequest(release(model), levels=[Level.STRUCTURE, Level.CONTENT]))
    return {level.name: level for level in report.levels}


@pytest.mark.parametrize(
    ("damage", "kind", "tensor"),
    [
        (spoil(W1, fill_rows(float("nan"), 1)), "nan", W1),
        (spoil(W1, fill_rows(float("inf"), 1)), "infinite", W1),
        (spoil(W1, fill_rows(0.0, 256)), "all-zero", W1),
        (spoil(W1, fill_rows(0.0, 3)), "zero-run", W1),
        (spoil("norm.weight", fill_rows(1.0, 128)), "constant", "norm.weight"),
        (spoil("layers.2.attention.wq.weight", fill_rows(1e5, 1)), "overflow", "layers.2.attention.wq.weight"),
        (copy_expert, "duplicate", W1),
        (tie, "tied", "output.weight"),
        (spoil(W1, lambda weight: weight.mul_(50)), "outlier", W1),
    ],
    ids=["nan", "infinite", "all-zero", "zero-run", "constant", "overflow", "duplicate", "tied", "outlier"],
)
def test_damage_is_named_by_its_kind_and_tensor(
    damage: Damage, kind: str, tensor: str, bundled: Mixtral, release: WriteRelease
) -> None:
    content = check_levels(bundled, damage, release)["content"]
    assert content.outcome is Outcome.BAD
    assert (kind, tensor) in [(finding.kind, finding.subject) for finding in content.findings]
    assert {finding.subject for finding in content.findings} == {tensor}


def test_pieces_that_no_text_had_may_have_rows_of_zeros(bundled: Mixtral, release: WriteRelease) -> None:
    def empty_rows(weights: dict[str, torch.Tensor]) -> None:
        weights["tok_embeddings.weight"][-20:] = 0
        weights["tok_embeddings.weight"][7] = 0

    assert check_levels(bundled, empty_rows, release)["content"].outcome is Outcome.GOOD


def test_a_finding_in_another_layout_also_says_what_the_tensor_is_called_there(
    bundled: Mixtral, release: WriteRelease, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundled.state_dict()[W1].zero_()
    folder = tmp_path_factory.mktemp("converted") / "hf"
    convert(ConvertRequest(release(bundled), folder, target="hf"))
    report = boot(BootRequest(folder, levels=[Level.CONTENT]))
    (finding,) = report.levels[0].findings
    assert finding.subject == W1
    assert finding.stored_as == "model.layers.1.block_sparse_moe.experts.3.w1.weight"


def test_random_weights_of_any_shape_have_nothing_wrong_with_them() -> None:
    survey = Survey()
    model = make_model(replace(TINY, n_layers=5))
    for name, weight in model.state_dict().items():
        content = bytearray(weight.numpy().tobytes())
        survey.add(TensorSpec(name, "F32", tuple(weight.shape), 0, 0, len(content)), content)
    result = judge_content(survey.facts, model.architecture, {name: name for name in survey.facts})
    assert result.findings == ()


def test_the_bundled_release_is_whole() -> None:
    report = boot(BootRequest(bundled_release(), levels=[Level.STRUCTURE, Level.CONTENT]))
    assert report.healthy, report.reasons


def test_two_tensors_in_the_same_bytes_are_tied(bundled: Mixtral, release: WriteRelease) -> None:
    folder = release(bundled)
    weights = torch.load(folder / "consolidated.00.pth", weights_only=True)
    weights["layers.1.attention.wk.weight"] = weights["layers.0.attention.wk.weight"]
    torch.save(weights, folder / "consolidated.00.pth")
    report = boot(BootRequest(folder, levels=[Level.STRUCTURE]))
    (finding,) = report.levels[0].findings
    assert finding.kind == "tied"
    assert "layers.0.attention.wk.weight" in finding.describe()
