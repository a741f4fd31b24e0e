import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.compare.tensor_slices import SLICES, cast_exactly, is_constant, read_numbers
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import map_source, view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from tests.convert.forge import MOE, random_tensors, write_release

WIDE = replace(MOE, dim=64, hidden_dim=96, vocab_size=120, head_dim=16, n_layers=4)
LAYOUTS = ("mistral", "mistral-fused", "hf", "hf-fused", "mlx", "gguf")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release", WIDE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_slice_is_a_run_of_the_tensors_numbers(release: Path, layout: str) -> None:
    with open_source(release) as source:
        digests, view = tensor_digests(source, layout=layout), view_as(source, layout)
        assert len(digests.slices) > (10 if layout == "mistral-fused" else 12)
        for name, part in digests.slices.items():
            run = view.read(name)[2 * part.first : 2 * (part.first + part.count)]
            assert hashlib.sha256(run).hexdigest() == part.sha256


def test_slices_are_spread_over_layers_and_roles_and_avoid_rotary_rows(release: Path) -> None:
    with open_source(release) as source:
        names = list(tensor_digests(source).slices)
    assert len(names) == SLICES
    assert not [name for name in names if ".wq." in name or ".wk." in name or "gate" in name]
    for part in ("tok_embeddings", "output", "wv", "wo", "w1", "w2", "w3", *(f"layers.{n}." for n in range(4))):
        assert any(part in name for name in names), part


@pytest.mark.parametrize("target", ["hf", "mistral", "gguf", "mlx"])
def test_the_slices_of_a_release_are_read_from_a_copy_in_any_layout(release: Path, tmp_path: Path, target: str) -> None:
    with open_source(release) as source:
        digests = tensor_digests(source)
    convert(ConvertRequest(release, tmp_path / "copy", target=target, verify=False))
    with open_source(tmp_path / "copy") as source:
        moves = {move.name: move for move in map_source(source, "mistral")}
        for name, part in digests.slices.items():
            content = read_numbers(source.checkpoint, moves[name], part.first, part.count)
            assert content is not None
            assert hashlib.sha256(content).hexdigest() == part.sha256


def test_a_slice_of_equal_numbers_says_nothing_and_is_left_out(tmp_path: Path) -> None:
    tensors = random_tensors(WIDE)
    tensors["output.weight"] = torch.ones_like(tensors["output.weight"])
    with open_source(write_release(tmp_path / "release", WIDE, tensors)) as source:
        assert "output.weight" not in tensor_digests(source).slices


def test_the_same_release_always_has_the_same_slices(release: Path) -> None:
    with open_source(release) as source:
        first = tensor_digests(source)
        assert first.slices == tensor_digests(source, known={n: t.sha256 for n, t in first.tensors.items()}).slices


def test_rotary_rows_and_transposed_matrices_are_not_read(release: Path) -> None:
    with open_source(release) as source:
        moves = {move.name: move for move in map_source(source, "hf")}
        assert read_numbers(source.checkpoint, moves["model.layers.0.self_attn.q_proj.weight"], 0, 8) is None
        fused = {move.name: move for move in map_source(source, "mistral-fused")}
        assert read_numbers(source.checkpoint, fused["layers.0.block_sparse_moe.w2"], 0, 8) is None


def bits(numbers: np.ndarray, dtype: str) -> bytes:  # type: ignore[type-arg]  # of any of these dtypes
    return numbers.astype(dtype).tobytes()


@given(st.lists(st.integers(0, 0x7F7F) | st.integers(0x8000, 0xFF7F), min_size=1, max_size=40))
def test_bfloat16_survives_the_way_through_32_bits(words: list[int]) -> None:
    content = bits(np.array(words), "<u2")
    wide = cast_exactly(content, "BF16", "F32")
    assert wide is not None
    assert cast_exactly(wide, "F32", "BF16") == content


def test_numbers_that_another_dtype_does_not_hold_are_not_cast() -> None:
    third = bits(np.array([1 / 3]), "<f4")
    assert cast_exactly(third, "F32", "BF16") is None
    assert cast_exactly(third, "F32", "F32") == third
    assert cast_exactly(bits(np.array([1 / 3]), "<f8"), "F64", "F32") is None
    assert cast_exactly(bits(np.array([0.5]), "<f8"), "F64", "F16") == bits(np.array([0.5]), "<f2")
    assert cast_exactly(b"1234", "I32", "F32") is None
    assert cast_exactly(b"12", "F16", "F8_E4M3") is None


def test_constants_are_known() -> None:
    assert is_constant(bits(np.ones(5), "<f4"), "F32")
    assert not is_constant(bits(np.arange(5), "<f4"), "F32")
