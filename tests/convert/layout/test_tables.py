import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import LAYOUTS, check_tensors, detect_layout, find_layout
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.errors import LayoutError
from tests.convert.forge import DENSE, MOE, Tensors, random_tensors, raw

Make = Callable[[Architecture, Tensors | None], Path]


def architectures() -> st.SearchStrategy[Architecture]:
    return st.builds(
        lambda heads, shared, half, dim, hidden, layers, vocab, experts: Architecture(
            dim=dim,
            n_layers=layers,
            head_dim=2 * half,
            hidden_dim=hidden,
            n_heads=heads * shared,
            n_kv_heads=heads,
            norm_eps=1e-5,
            vocab_size=vocab,
            rope_theta=1e6,
            n_experts=experts,
            experts_per_token=min(experts, 2),
        ),
        *(st.integers(1, 3) for _ in range(6)),
        st.integers(1, 20),
        st.integers(0, 3),
    )


def test_the_published_models_have_the_known_numbers_of_tensors_and_parameters() -> None:
    mixtral = Architecture(4096, 32, 128, 14336, 32, 8, 1e-5, 32000, 1e6, 8, 2)
    dense = Architecture(4096, 32, 128, 14336, 32, 8, 1e-5, 32000, 1e4)
    assert len(LAYOUTS["mistral"].tensors(mixtral)) == len(LAYOUTS["hf"].tensors(mixtral)) == 995
    assert len(LAYOUTS["mistral"].tensors(dense)) == len(LAYOUTS["hf"].tensors(dense)) == 291
    for layout in LAYOUTS.values():
        total = sum(torch.Size(tensor.shape).numel() for tensor in layout.tensors(mixtral).values())
        assert total == mixtral.total_parameters == 46_702_792_704


@given(architectures())
def test_every_layout_holds_every_part_once(architecture: Architecture) -> None:
    for layout in LAYOUTS.values():
        if layout.name == "mistral-fused" and not architecture.n_experts:
            continue
        parts = [part for tensor in layout.tensors(architecture).values() for part in tensor.parts]
        assert len(parts) == len(set(parts))
        assert set(parts) == set(LAYOUTS["mistral"].places(architecture))


@pytest.mark.parametrize("architecture", [MOE, DENSE], ids=["moe", "dense"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_told_by_its_names(layout: str, architecture: Architecture) -> None:
    if architecture is DENSE and (layout.endswith("-fused") or layout == "mlx"):
        return  # without experts, MLX-LM's names are those of transformers
    found, reason = detect_layout(LAYOUTS[layout].tensors(architecture))
    assert found.name == layout
    assert any(word in reason for word in ("layers.0", "blk.0"))


def test_names_of_no_layout_and_of_two_are_refused() -> None:
    with pytest.raises(LayoutError, match=r"\(transformer\.h\.0\.weight\).*no layout"):
        detect_layout(["transformer.h.0.weight"])
    with pytest.raises(LayoutError, match="two layouts: mistral and hf"):
        detect_layout([*LAYOUTS["mistral"].tensors(MOE), *LAYOUTS["hf"].tensors(MOE)])
    with pytest.raises(LayoutError, match="'ggml' is not known"):
        find_layout("ggml")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda shapes: shapes.pop("norm.weight"), "norm.weight is missing"),
        (lambda shapes: shapes.update(extra=(1,)), "extra should not be there"),
        (lambda shapes: shapes.update({"norm.weight": (17,)}), r"norm.weight has shape \[17\], not \[16\]"),
        (lambda shapes: shapes.update({"output.weight": (16, 40)}), r"output.weight has shape \[16, 40\]"),
        (lambda shapes: shapes.clear(), "is missing.*and 32 more"),
    ],
)
def test_a_missing_extra_or_misshapen_tensor_is_named(change: Callable, fault: str) -> None:
    layout = LAYOUTS["mistral"]
    shapes = {name: tensor.shape for name, tensor in layout.tensors(MOE).items()}
    check_tensors(layout, MOE, shapes, "params.json")
    change(shapes)
    with pytest.raises(LayoutError, match=fault):
        check_tensors(layout, MOE, shapes, "params.json")


def test_a_configuration_of_absurd_size_does_not_take_our_memory() -> None:
    absurd = Architecture(16, 1 << 24, 8, 24, 4, 2, 1e-5, 40, 1e6, 1 << 24, 2)
    with pytest.raises(LayoutError, match="more matrices than any model has"):
        check_tensors(LAYOUTS["mistral"], absurd, {}, "params.json")


def to_hf(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """As the converter that transformers once had: the reference for the permutation."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def test_hf_is_the_publishers_with_q_and_k_permuted(release: Path) -> None:
    ours = random_tensors(MOE)
    with open_source(release) as source:
        assert (source.layout, source.architecture) == ("mistral", MOE)
        view = view_as(source, "hf")
    renamed = {
        "model.embed_tokens.weight": ours["tok_embeddings.weight"],
        "model.layers.1.self_attn.q_proj.weight": to_hf(ours["layers.1.attention.wq.weight"], MOE.n_heads),
        "model.layers.1.self_attn.k_proj.weight": to_hf(ours["layers.1.attention.wk.weight"], MOE.n_kv_heads),
        "model.layers.1.self_attn.v_proj.weight": ours["layers.1.attention.wv.weight"],
        "model.layers.0.block_sparse_moe.experts.2.w2.weight": ours["layers.0.feed_forward.experts.2.w2.weight"],
        "lm_head.weight": ours["output.weight"],
    }
    with open_source(release) as source:
        view = view_as(source, "hf")
        for name, tensor in renamed.items():
            assert view.specs[name].shape == tuple(tensor.shape)
            assert view.read(name) == raw(tensor)


def test_fused_layouts_stack_the_experts(release: Path) -> None:
    ours = random_tensors(MOE)
    experts = [
        {role: ours[f"layers.1.feed_forward.experts.{e}.{role}.weight"] for role in ("w1", "w2", "w3")}
        for e in range(3)
    ]
    with open_source(release) as source:
        fused = view_as(source, "mistral-fused")
        assert fused.specs["layers.1.block_sparse_moe.w2"].shape == (3 * 24, 16)
        assert fused.read("layers.1.block_sparse_moe.w1") == raw(torch.cat([e["w1"] for e in experts]))
        assert fused.read("layers.1.block_sparse_moe.w2") == raw(torch.cat([e["w2"].T for e in experts]))
        stacked = view_as(source, "hf-fused")
        both = torch.stack([torch.cat([e["w1"], e["w3"]]) for e in experts])
        assert stacked.specs["model.layers.1.mlp.experts.gate_up_proj"].shape == tuple(both.shape)
        assert stacked.read("model.layers.1.mlp.experts.gate_up_proj") == raw(both)
        assert stacked.read("model.layers.1.mlp.experts.down_proj") == raw(torch.stack([e["w2"] for e in experts]))


@settings(max_examples=40)
@given(architectures(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from([torch.bfloat16, torch.float32, torch.int8]))
def test_there_and_back_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, architecture: Architecture, layout: str, dtype: torch.dtype
) -> None:
    """Any layout, seen as the publisher's, written out, and seen as that layout again."""
    if layout.endswith("-fused") and not architecture.n_experts:
        return
    folder = tmp_path_factory.mktemp("there")
    tensors = random_tensors(architecture, layout, dtype)
    seen = _view(folder / "a", architecture, tensors, "mistral")
    back = _view(folder / "b", architecture, seen, layout)
    assert {name: raw(tensor) for name, tensor in back.items()} == {n: raw(t) for n, t in tensors.items()}


def _view(folder: Path, architecture: Architecture, tensors: Tensors, layout: str) -> Tensors:
    folder.mkdir()
    torch.save(tensors, folder / "consolidated.00.pth")
    (folder / "params.json").write_text(json.dumps(architecture.to_params()))
    with open_source(folder) as source:
        view = view_as(source, layout)
        dtype = next(iter(tensors.values())).dtype
        return {
            name: torch.frombuffer(view.read(name), dtype=dtype).reshape(spec.shape)
            for name, spec in view.specs.items()
        }


def test_a_dense_model_has_no_place_in_a_layout_for_experts(make_release: Make) -> None:
    with open_source(make_release(DENSE, None)) as source, pytest.raises(LayoutError, match="no place for dense_w1"):
        view_as(source, "mistral-fused")


def test_experts_of_two_dtypes_do_not_meet_in_one_tensor(make_release: Make) -> None:
    tensors = random_tensors(MOE)
    name = "layers.0.feed_forward.experts.1.w2.weight"
    tensors[name] = tensors[name].float()
    with open_source(make_release(MOE, tensors)) as source:
        assert view_as(source, "hf").read("model.layers.0.block_sparse_moe.experts.1.w2.weight") == raw(tensors[name])
        with pytest.raises(LayoutError, match="several dtypes: BF16, F32"):
            view_as(source, "mistral-fused")


def test_what_a_view_reads_may_be_written_to(release: Path) -> None:
    with open_source(release) as source:
        view = view_as(source, "mistral")
        content = view.read("norm.weight")
        content[0] ^= 255
        assert view.read("norm.weight") != content
