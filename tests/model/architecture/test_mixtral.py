import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import find_layout
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.model.architecture.mixtral import Attention, KeyValues, Mixtral, MixtureOfExperts, Rotation
from tests.model.forge import DENSE, SLIDING, TINY, make_model

IDS = torch.tensor([[1, 9, 33, 4, 60, 12, 12, 7, 41, 22, 3, 58, 30, 9, 17, 5]])


def decode(model: Mixtral, ids: Tensor) -> Tensor:
    """Logits of a pass that takes one token at a time."""
    dtype = model.output.weight.dtype
    caches = [KeyValues(model.architecture, len(ids), ids.shape[1], dtype) for _ in model.layers]
    return torch.cat([model(ids[:, at : at + 1], at, caches) for at in range(ids.shape[1])], dim=1)


def test_names_and_shapes_are_those_of_the_layout(architecture: Architecture) -> None:
    with torch.device("meta"):
        weights = Mixtral(architecture).state_dict()
    laid = find_layout("mistral").tensors(architecture)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        name: tensor.shape for name, tensor in laid.items()
    }


def test_decoding_token_by_token_equals_one_full_pass(architecture: Architecture) -> None:
    model = make_model(architecture)
    torch.testing.assert_close(decode(model, IDS), model(IDS), rtol=1e-4, atol=1e-4)


def test_a_prompt_and_then_single_tokens_equal_one_full_pass(architecture: Architecture) -> None:
    model = make_model(architecture)
    caches = [KeyValues(architecture, 1, IDS.shape[1], torch.float32) for _ in model.layers]
    head = model(IDS[:, :9], 0, caches)
    tail = [model(IDS[:, at : at + 1], at, caches) for at in range(9, IDS.shape[1])]
    torch.testing.assert_close(torch.cat([head, *tail], dim=1), model(IDS), rtol=1e-4, atol=1e-4)


def test_a_prompt_in_several_parts_equals_one_full_pass(architecture: Architecture) -> None:
    model = make_model(architecture)
    caches = [KeyValues(architecture, 1, IDS.shape[1]) for _ in model.layers]
    parts = [model(IDS[:, at : at + size], at, caches) for at, size in ((0, 3), (3, 5), (8, 1), (9, 7))]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(IDS), rtol=1e-4, atol=1e-4)


def test_with_a_sliding_window_no_more_keys_are_kept_than_it_reaches_back() -> None:
    window = SLIDING.sliding_window
    assert KeyValues(SLIDING, 1, 1000).slots == window
    assert KeyValues(DENSE, 1, 1000).slots == 1000


def test_bfloat16_computes_what_float32_does_give_or_take_its_rounding(architecture: Architecture) -> None:
    exact, rounded = make_model(architecture)(IDS), make_model(architecture).to(torch.bfloat16)
    full, decoded = rounded(IDS).float(), decode(rounded, IDS).float()
    assert rounded(IDS).dtype is torch.bfloat16
    for one, other in ((full, exact), (decoded, exact)):
        assert float((one - other).square().mean() / other.square().mean()) < 0.02


def test_no_logit_depends_on_a_later_token(architecture: Architecture) -> None:
    model = make_model(architecture)
    other = IDS.clone()
    other[0, 10:] = 2
    torch.testing.assert_close(model(IDS)[:, :10], model(other)[:, :10], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(IDS)[:, 10:], model(other)[:, 10:])


def test_a_sliding_window_forgets_what_lies_before_it() -> None:
    one_layer = replace(SLIDING, n_layers=1)
    model, other = make_model(one_layer), IDS.clone()
    other[0, 0] = 2
    same = torch.isclose(model(IDS), model(other), atol=1e-5).all(-1)[0]
    window = one_layer.sliding_window or 0
    assert same.tolist() == [False] * window + [True] * (IDS.shape[1] - window)


def test_rotation_turns_each_pair_of_neighbours_by_its_own_angle() -> None:
    x = torch.randn(1, 4, 1, TINY.head_dim, generator=torch.Generator().manual_seed(0))
    turned = Rotation(TINY, start=5, length=4).turn(x)
    for position in range(4):
        for pair in range(TINY.head_dim // 2):
            angle = (5 + position) * TINY.rope_theta ** (-2 * pair / TINY.head_dim)
            a, b = x[0, position, 0, 2 * pair : 2 * pair + 2].tolist()
            wanted = [a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)]
            assert turned[0, position, 0, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(wanted, abs=1e-5)


def test_query_heads_share_key_value_heads_in_order() -> None:
    attention: Attention = make_model(DENSE).layers[0].attention
    x = torch.randn(1, 5, DENSE.dim, generator=torch.Generator().manual_seed(0))
    rotation = Rotation(DENSE, 0, 5)
    d, group = DENSE.head_dim, DENSE.n_heads // DENSE.n_kv_heads
    queries = rotation.turn(attention.wq(x).view(1, 5, -1, d))[0]
    keys = rotation.turn(attention.wk(x).view(1, 5, -1, d))[0]
    values = attention.wv(x).view(5, -1, d)
    mixed = torch.zeros(5, DENSE.n_heads, d)
    for head in range(DENSE.n_heads):
        for t in range(5):
            scores = keys[: t + 1, head // group] @ queries[t, head] / math.sqrt(d)
            mixed[t, head] = scores.softmax(0) @ values[: t + 1, head // group]
    torch.testing.assert_close(attention(x, rotation, None)[0], attention.wo(mixed.flatten(1)), rtol=1e-4, atol=1e-5)


def test_the_weights_of_the_chosen_experts_are_the_softmax_over_those_alone() -> None:
    mixture: MixtureOfExperts = make_model(TINY).layers[0].feed_forward
    tokens = torch.randn(7, TINY.dim, generator=torch.Generator().manual_seed(0))
    routing = mixture.route(tokens)
    for logits, chosen, weights in zip(routing.logits, routing.chosen, routing.weights, strict=True):
        best = sorted(range(TINY.n_experts), key=lambda expert: -float(logits[expert]))[:2]
        total = sum(math.exp(float(logits[expert])) for expert in best)
        assert chosen.tolist() == best
        assert weights.tolist() == pytest.approx([math.exp(float(logits[expert])) / total for expert in best])


def test_grouping_tokens_by_expert_equals_asking_for_each_token() -> None:
    mixture: MixtureOfExperts = make_model(TINY).layers[0].feed_forward
    x = torch.randn(2, 6, TINY.dim, generator=torch.Generator().manual_seed(0))
    routing = mixture.route(x.flatten(0, 1))
    for token, chosen, weights, answer in zip(
        x.flatten(0, 1), routing.chosen, routing.weights, mixture(x, lambda _: None).flatten(0, 1), strict=True
    ):
        wanted = sum(
            weight * mixture.experts[expert](token) for expert, weight in zip(chosen.tolist(), weights, strict=True)
        )
        torch.testing.assert_close(answer, wanted, rtol=1e-4, atol=1e-5)


def test_an_expert_that_nobody_chose_is_not_touched() -> None:
    mixture: MixtureOfExperts = make_model(TINY).layers[0].feed_forward
    token = torch.ones(1, 1, TINY.dim)
    chosen = mixture.route(token[0]).chosen[0].tolist()
    for expert in set(range(TINY.n_experts)) - set(chosen):
        mixture.experts[expert].w1.weight.fill_(math.nan)
    assert bool(mixture(token, lambda _: None).isfinite().all())


def test_transformers_reads_the_converted_bundled_release_to_the_same_logits(bundled: Mixtral, tmp_path: Path) -> None:
    from transformers import MixtralForCausalLM

    from magnetar.model.bundled import bundled_release

    convert(ConvertRequest(bundled_release(), tmp_path / "hf", target="hf"))
    theirs = MixtralForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    ids = torch.arange(1, 300)[None] % bundled.architecture.vocab_size
    with torch.inference_mode():
        torch.testing.assert_close(bundled(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", [DENSE, SLIDING], ids=["dense", "sliding"])
def test_transformers_runs_a_dense_mistral_to_the_same_logits(architecture: Architecture) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    ours = make_model(architecture)
    config = MistralConfig.from_dict({**architecture.to_config("float32"), "attn_implementation": "eager"})
    theirs = MistralForCausalLM(config).eval()
    theirs.load_state_dict(name_for_transformers(ours))
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


def name_for_transformers(model: Mixtral) -> dict[str, Tensor]:
    """The weights of a dense model under transformers' names, its rotary halves split, by the published formula."""
    a = model.architecture
    short = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    whole = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
    heads = {"attention.wq": a.n_heads, "attention.wk": a.n_kv_heads}
    named = {}
    for name, weight in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem in whole:
            named[f"{whole[stem]}.weight"] = weight
            continue
        _, layer, role = stem.split(".", 2)
        if role in heads:
            rows, columns = weight.shape
            weight = weight.view(heads[role], -1, 2, columns).transpose(1, 2).reshape(rows, columns)
        named[f"model.layers.{layer}.{short[role]}.weight"] = weight
    return named
