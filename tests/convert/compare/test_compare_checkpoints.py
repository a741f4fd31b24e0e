import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magnetar.convert.compare.compare_checkpoints import compare_checkpoints
from magnetar.convert.compare.comparison_report import ExpertOrder, How, Sameness, TensorDifference
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import LayoutError
from magnetar.events import Began, Ended, Event, Moved
from magnetar.findings import Outcome
from tests import needs
from tests.convert.forge import DENSE, MOE, Tensors, random_tensors, write_release

BUNDLED = Path(__file__).parents[3] / "model/release/austen-moe"
EXPERT = "layers.1.feed_forward.experts.{}.{}.weight"
WQ, WK, WO = (f"layers.1.attention.{name}.weight" for name in ("wq", "wk", "wo"))
ROUTER = "layers.1.feed_forward.gate.weight"
HEAD = MOE.head_dim
Change = Callable[[Tensors], None]


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Change], Sameness]:
    """How a release compares with what a change makes of it."""

    def alter(change: Change) -> Sameness:
        tensors = random_tensors(MOE)
        first = write_release(tmp_path / "first", MOE, dict(tensors))
        change(tensors)
        second = write_release(
            tmp_path / "second", MOE, {name: tensor.contiguous() for name, tensor in tensors.items()}
        )
        return compare_checkpoints(first, second)

    return alter


def only(sameness: Sameness) -> TensorDifference:
    (difference,) = sameness.differences
    assert sameness.outcome is Outcome.BAD
    return difference


def change_each(*names: str, by: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(tensors: Tensors) -> None:
        for name in names:
            tensors[name] = by(tensors[name])

    return change


def swap(*pairs: tuple[str, str]) -> Change:
    def change(tensors: Tensors) -> None:
        for one, other in pairs:
            tensors[one], tensors[other] = tensors[other], tensors[one]

    return change


def to_hf(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    return matrix.reshape(heads, -1, 2, matrix.shape[1]).transpose(1, 2).reshape(matrix.shape)


def from_hf(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    return matrix.reshape(heads, 2, -1, matrix.shape[1]).transpose(1, 2).reshape(matrix.shape)


@pytest.mark.parametrize("target", ["hf", "mistral", "gguf", "mlx", "safetensors"])
def test_the_bundled_release_is_the_same_in_every_format(target: str, tmp_path: Path) -> None:
    convert(ConvertRequest(BUNDLED, tmp_path / "out", target=target, verify=False))
    if target == "safetensors":
        (tmp_path / "out/params.json").write_bytes((BUNDLED / "params.json").read_bytes())
    sameness = compare_checkpoints(BUNDLED, tmp_path / "out")
    assert (sameness.outcome, sameness.tensors) == (Outcome.GOOD, 127)
    assert {difference.how for difference in sameness.differences} == ({How.CAST} if target == "gguf" else set())
    assert sameness.identical == 127 - len(sameness.differences)
    assert sameness.configuration == ()


def test_configurations_that_disagree_are_told_and_count_though_the_tensors_are_the_same(
    release: Path, tmp_path: Path
) -> None:
    other = write_release(tmp_path / "other", MOE)
    (other / "params.json").write_text(json.dumps(replace(MOE, rope_theta=1e4, norm_eps=1e-6).to_params()))
    sameness = compare_checkpoints(release, other)
    assert (sameness.outcome, sameness.of_tensors, sameness.differences) == (Outcome.BAD, Outcome.GOOD, ())
    assert sameness.configuration == ("norm_eps is 1e-06, not 1e-05", "rope_theta is 10000.0, not 1000000.0")


def test_two_swapped_experts_are_named_with_their_layer(altered: Callable[[Change], Sameness]) -> None:
    sameness = altered(swap(*((EXPERT.format(0, role), EXPERT.format(2, role)) for role in ("w1", "w2", "w3"))))
    assert sameness.experts == (ExpertOrder(1, (2, 1, 0), router_follows=False),)
    assert {difference.how for difference in sameness.differences} == {How.SWAPPED}
    found = {difference.name: difference.origin for difference in sameness.differences}
    assert found[EXPERT.format(0, "w1")] == EXPERT.format(2, "w1")
    assert len(found) == 6


def test_experts_in_another_order_whose_router_follows_are_told_apart(altered: Callable[[Change], Sameness]) -> None:
    order = (1, 2, 0)

    def change(tensors: Tensors) -> None:
        old = dict(tensors)
        for expert, origin in enumerate(order):
            for role in ("w1", "w2", "w3"):
                tensors[EXPERT.format(expert, role)] = old[EXPERT.format(origin, role)]
        tensors[ROUTER] = old[ROUTER][list(order)]

    sameness = altered(change)
    assert sameness.experts == (ExpertOrder(1, order, router_follows=True),)
    (router,) = (difference for difference in sameness.differences if difference.name == ROUTER)
    assert (router.how, router.order) == (How.EXPERTS, order)
    assert {difference.how for difference in sameness.differences} == {How.MOVED, How.EXPERTS}


def test_swapped_w1_and_w3_are_no_other_order_of_experts(altered: Callable[[Change], Sameness]) -> None:
    sameness = altered(swap((EXPERT.format(1, "w1"), EXPERT.format(1, "w3"))))
    assert sameness.experts == ()
    assert [(one.how, one.origin) for one in sameness.differences] == [
        (How.SWAPPED, EXPERT.format(1, "w3")),
        (How.SWAPPED, EXPERT.format(1, "w1")),
    ]


@pytest.mark.parametrize(
    ("name", "heads", "wrong"),
    [(WQ, MOE.n_heads, MOE.n_kv_heads), (WK, MOE.n_kv_heads, MOE.n_heads)],
)
def test_rotary_pairs_that_were_not_brought_over_are_named(
    name: str, heads: int, wrong: int, altered: Callable[[Change], Sameness]
) -> None:
    cases: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "split into halves": lambda matrix: to_hf(matrix, heads),
        "halves interleaved": lambda matrix: from_hf(matrix, heads),
        f"permuted for {wrong} heads, though it has {heads}": lambda matrix: from_hf(to_hf(matrix, wrong), heads),
        f"permuted for {wrong} heads, though it  has {heads}": lambda matrix: from_hf(to_hf(matrix, heads), wrong),
        f"permuted for {wrong} heads, though  it has {heads}": lambda matrix: to_hf(matrix, wrong),
    }
    for detail, case in cases.items():
        difference = only(altered(change_each(name, by=case)))
        assert (difference.name, difference.how) == (name, How.ROTARY)
        assert " ".join(detail.split()) in difference.detail


def test_k_permuted_for_the_heads_of_q_in_the_form_of_transformers_is_named(tmp_path: Path) -> None:
    tensors = random_tensors(MOE)
    first = write_release(tmp_path / "first", MOE, tensors)
    convert(ConvertRequest(first, tmp_path / "hf", target="hf"))
    with open_source(tmp_path / "hf") as source:
        spec = source.checkpoint.specs["model.layers.1.self_attn.k_proj.weight"]
    wrong = to_hf(tensors[WK], MOE.n_heads).contiguous().view(torch.uint8).numpy().tobytes()
    with (tmp_path / "hf/model.safetensors").open("r+b") as stream:
        stream.seek(spec.offset)
        stream.write(wrong)
    difference = only(compare_checkpoints(first, tmp_path / "hf"))
    assert (difference.name, difference.how) == (WK, How.ROTARY)
    assert difference.detail == f"was permuted for {MOE.n_heads} heads, though it has {MOE.n_kv_heads}"


def test_heads_in_another_order_are_named_in_rows_and_in_columns(altered: Callable[[Change], Sameness]) -> None:
    order = (2, 0, 3, 1)
    rows = [head * HEAD + row for head in order for row in range(HEAD)]
    sameness = altered(
        lambda tensors: tensors.update({WQ: tensors[WQ][rows].clone(), WO: tensors[WO][:, rows].clone()})
    )
    assert {(one.name, one.how, one.order) for one in sameness.differences} == {
        (WQ, How.HEADS, order),
        (WO, How.HEADS, order),
    }


def test_rows_and_columns_in_another_order_are_named(altered: Callable[[Change], Sameness]) -> None:
    matrix = EXPERT.format(1, "w2")
    rows = only(altered(change_each(matrix, by=lambda tensor: tensor.flip(0))))
    assert (rows.how, rows.order) == (How.ROWS, tuple(reversed(range(16))))
    columns = only(altered(change_each(matrix, by=lambda tensor: tensor.flip(1))))
    assert (columns.how, columns.order) == (How.COLUMNS, tuple(reversed(range(24))))


def test_a_transposed_square_matrix_is_named(tmp_path: Path) -> None:
    square = Architecture(16, 1, 4, 24, 4, 4, 1e-5, 40, 1e6)
    tensors = random_tensors(square)
    first = write_release(tmp_path / "first", square, dict(tensors))
    name = "layers.0.attention.wo.weight"
    tensors[name] = tensors[name].T.contiguous()
    difference = only(compare_checkpoints(first, write_release(tmp_path / "second", square, tensors)))
    assert (difference.name, difference.how) == (name, How.TRANSPOSED)


def test_a_transposed_matrix_of_another_shape_is_named_too(altered: Callable[[Change], Sameness]) -> None:
    name = EXPERT.format(1, "w2")
    sameness = altered(change_each(name, by=lambda tensor: tensor.T))
    difference = only(sameness)
    assert (difference.name, difference.how, difference.shapes) == (name, How.TRANSPOSED, ((16, 24), (24, 16)))
    assert "name by name" in sameness.reason


def test_a_w2_of_the_fused_form_is_named_if_it_was_left_so_or_turned_once_too_often(
    altered: Callable[[Change], Sameness],
) -> None:
    name = EXPERT.format(1, "w2")
    left = only(altered(change_each(name, by=lambda tensor: tensor.T.reshape(tensor.shape))))
    turned = only(altered(change_each(name, by=lambda tensor: tensor.reshape(tensor.shape[::-1]).T)))
    assert (left.name, left.how) == (turned.name, turned.how) == (name, How.TRANSPOSED)
    assert left.detail != turned.detail


def test_the_same_bytes_in_another_shape_are_named(altered: Callable[[Change], Sameness]) -> None:
    difference = only(altered(change_each(EXPERT.format(1, "w2"), by=lambda tensor: tensor.reshape(24, 16))))
    assert difference.how is How.RESHAPED


def test_a_flipped_sign_is_named_where_it_is(altered: Callable[[Change], Sameness]) -> None:
    def flip_one(tensor: torch.Tensor) -> torch.Tensor:
        flipped = tensor.clone()
        flipped[2, 3] *= -1
        return flipped

    one = only(altered(change_each(WO, by=flip_one)))
    place = 2 * (2 * MOE.n_heads * HEAD + 3)
    assert (one.name, one.how, one.changed, one.begin, one.end) == (WO, How.SIGN, 1, place, place + 2)
    everything = only(altered(change_each("norm.weight", by=lambda tensor: -tensor)))
    assert (everything.name, everything.how, everything.changed) == ("norm.weight", How.SIGN, MOE.dim)


def test_a_range_of_other_bytes_is_named_with_its_bounds(altered: Callable[[Change], Sameness]) -> None:
    def overwrite(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.reshape(-1)[100:120] = 7.0
        return changed

    difference = only(altered(change_each(WQ, by=overwrite)))
    assert (difference.how, difference.changed, difference.begin, difference.end) == (How.RANGE, 20, 200, 240)
    assert difference.error is not None
    assert difference.error > 0


def test_other_numbers_are_different_by_as_much_as_they_are(altered: Callable[[Change], Sameness]) -> None:
    difference = only(altered(change_each(WQ, by=lambda tensor: tensor * 2)))
    assert difference.how is How.DIFFERENT
    assert difference.error == pytest.approx(1.0)
    nothing = only(altered(change_each(WQ, by=lambda tensor: tensor * float("nan"))))
    assert (nothing.how, nothing.error) == (How.DIFFERENT, None)


@pytest.mark.parametrize(
    ("before", "after", "how", "outcome"),
    [
        (torch.bfloat16, torch.float32, How.CAST, Outcome.GOOD),
        (torch.float32, torch.bfloat16, How.ROUNDED, Outcome.UNKNOWN),
        (torch.bfloat16, torch.float16, How.CAST, Outcome.GOOD),  # of randn, F16 has every bit
        (torch.float16, torch.bfloat16, How.ROUNDED, Outcome.UNKNOWN),
    ],
)
def test_a_cast_is_named_and_whether_it_lost_anything(
    before: torch.dtype, after: torch.dtype, how: How, outcome: Outcome, tmp_path: Path
) -> None:
    tensors = random_tensors(MOE)
    tensors[WQ] = torch.randn(tensors[WQ].shape, generator=torch.Generator().manual_seed(3)).to(before)
    first = write_release(tmp_path / "first", MOE, dict(tensors))
    tensors[WQ] = tensors[WQ].to(after)
    sameness = compare_checkpoints(first, write_release(tmp_path / "second", MOE, tensors))
    (difference,) = sameness.differences
    assert (difference.name, difference.how) == (WQ, how)
    assert difference.outcome is sameness.outcome is outcome
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    assert difference.dtypes == (names[before], names[after])


def test_a_reordering_is_named_through_a_cast(altered: Callable[[Change], Sameness]) -> None:
    difference = only(altered(change_each(WQ, by=lambda tensor: to_hf(tensor, MOE.n_heads).float())))
    assert difference.how is How.ROTARY


def test_quantised_tensors_are_measured(tmp_path: Path) -> None:
    convert(ConvertRequest(BUNDLED, tmp_path / "q8", target="gguf", dtype="q8_0", verify=False))
    convert(ConvertRequest(BUNDLED, tmp_path / "q4", target="gguf", dtype="q4_0", verify=False))
    rounded, apart = (
        compare_checkpoints(BUNDLED, tmp_path / "q8"),
        compare_checkpoints(tmp_path / "q8", tmp_path / "q4"),
    )
    assert {one.how for one in rounded.differences} == {How.CAST, How.ROUNDED}
    assert {one.how for one in apart.differences} == {How.NOT_COMPARABLE}
    assert rounded.outcome is apart.outcome is Outcome.UNKNOWN
    assert all(one.error is not None and 1e-4 < one.error < 0.1 for one in apart.differences)
    assert compare_checkpoints(tmp_path / "q8", tmp_path / "q8").differences == ()


def test_a_damaged_tensor_is_a_difference(release: Path, tmp_path: Path) -> None:
    second = write_release(tmp_path / "second", MOE)
    with open_source(second) as source:
        offset = source.checkpoint.specs[WK].offset
    with (second / "consolidated.00.pth").open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff\xff")
    difference = only(compare_checkpoints(release, second))
    assert (difference.name, difference.how) == (WK, How.DAMAGED)
    assert "second" in difference.detail
    assert "CRC-32" in difference.detail


def test_tensors_that_only_one_has_are_named(tmp_path: Path) -> None:
    tensors = random_tensors(DENSE)
    first = write_release(tmp_path / "first", DENSE, dict(tensors))
    tensors["rope.freqs"] = torch.zeros(3)
    tensors["last.weight"] = tensors.pop("output.weight")
    sameness = compare_checkpoints(first, write_release(tmp_path / "second", DENSE, tensors))
    assert {(one.name, one.how, one.origin) for one in sameness.differences} == {
        ("output.weight", How.MISSING, ""),
        ("rope.freqs", How.EXTRA, ""),
        ("last.weight", How.EXTRA, "output.weight"),
    }


def test_a_model_with_fewer_layers_and_experts_lacks_their_tensors(tmp_path: Path) -> None:
    smaller = replace(MOE, n_layers=1, n_experts=2)
    first, second = write_release(tmp_path / "first", MOE), write_release(tmp_path / "second", smaller)
    sameness = compare_checkpoints(first, second)
    lacking = {one.name for one in sameness.differences if one.how is How.MISSING}
    assert lacking == random_tensors(MOE).keys() - random_tensors(smaller).keys()
    assert sameness.experts == ()
    assert {one.how for one in compare_checkpoints(second, first).differences} >= {How.EXTRA}


def test_stacked_experts_of_an_unknown_family_are_told_by_their_order(tmp_path: Path) -> None:
    stack = torch.randn(4, 6, 10)
    for name, tensor in (("a", stack), ("b", stack[[3, 1, 2, 0]].clone())):
        (tmp_path / name).mkdir()
        save_file({"experts": tensor}, tmp_path / name / "model.safetensors")
    difference = only(compare_checkpoints(tmp_path / "a", tmp_path / "b"))
    assert (difference.how, difference.order) == (How.EXPERTS, (3, 1, 2, 0))


def test_checkpoints_whose_names_do_not_meet_are_refused(release: Path, tmp_path: Path) -> None:
    save_file({"something": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(LayoutError):
        compare_checkpoints(release, tmp_path)


def test_events_add_up_to_the_bytes_of_both(release: Path) -> None:
    events: list[Event] = []
    compare_checkpoints(release, release, emit=events.append)
    assert events[0] == Began("compare", 4 * MOE.total_parameters)
    assert sum(event.amount for event in events if isinstance(event, Moved)) == 4 * MOE.total_parameters
    assert events[-1] == Ended("compare")


MEASURE = """
import sys
from pathlib import Path
from magnetar.convert.compare.compare_checkpoints import compare_checkpoints
from tests.memory import peak_memory
before = peak_memory()
found = [difference.how.value for difference in compare_checkpoints(Path(sys.argv[1]), Path(sys.argv[2])).differences]
print(found, peak_memory() - before, sep="|")
"""


@needs.linux
def test_memory_stays_where_it_is_however_large_the_tensors(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randint(-(1 << 15), 1 << 15, (4096, 8192), dtype=torch.int16, generator=generator)
    changed = {"rows": matrix.flip(0), "turned": matrix.T.contiguous(), "other": matrix + 1}
    for name, tensors in (("a", dict.fromkeys(changed, matrix)), ("b", changed)):
        (tmp_path / name).mkdir()
        save_file({key: tensor.clone() for key, tensor in tensors.items()}, tmp_path / name / "model.safetensors")
    command = [sys.executable, "-c", MEASURE, tmp_path / "a", tmp_path / "b"]
    found, taken = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("|")
    assert sorted(json.loads(found.replace("'", '"'))) == ["different", "rows in another order", "transposed"]
    assert int(taken) < 80 << 20
