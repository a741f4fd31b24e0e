"""What we write, read by another runtime: transformers must compute what the original model computed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from tests.convert.forge import Tensors, write_release

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
}
NAMES = (
    ("model.embed_tokens", "tok_embeddings"),
    ("lm_head", "output"),
    ("model.", ""),
    ("self_attn.q_proj", "attention.wq"),
    ("self_attn.k_proj", "attention.wk"),
    ("self_attn.v_proj", "attention.wv"),
    ("self_attn.o_proj", "attention.wo"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("block_sparse_moe", "feed_forward"),
    ("mlp.gate.", "feed_forward.gate."),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.up_proj", "feed_forward.w3"),
    ("mlp.down_proj", "feed_forward.w2"),
)


def from_hf(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Half-split rows of each head back to interleaved pairs: llama.cpp's ``permute``."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def publish(model: Any) -> Tensors:
    """A model of transformers as its publisher would have released it, written without any code of ours."""
    tensors: Tensors = {}
    for name, tensor in model.state_dict().items():
        layer = ".".join(name.split(".")[:3]).removeprefix("model.")
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(tensor):
                gate, up = both.chunk(2)
                tensors[f"{layer}.feed_forward.experts.{expert}.w1.weight"] = gate
                tensors[f"{layer}.feed_forward.experts.{expert}.w3.weight"] = up
        elif name.endswith("experts.down_proj"):
            for expert, down in enumerate(tensor):
                tensors[f"{layer}.feed_forward.experts.{expert}.w2.weight"] = down
        else:
            heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
            for theirs, ours in NAMES:
                name = name.replace(theirs, ours)
            tensors[name] = from_hf(tensor, heads) if heads else tensor
    return {name: tensor.clone() for name, tensor in tensors.items()}


def make_mixtral() -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2))


def make_mistral() -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**SIZES))


@pytest.mark.parametrize("make", [make_mixtral, make_mistral])
@pytest.mark.parametrize("shard_size", [None, 20_000])
def test_a_converted_checkpoint_gives_the_logits_of_the_model_it_came_from(
    make: Any, shard_size: int | None, tmp_path: Path, tokenizer_model: bytes
) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = make().eval()
    experts = 4 if make is make_mixtral else 0
    architecture = Architecture(32, 2, 8, 48, 4, 2, 1e-5, 61, 1e6, experts, min(experts, 2))
    release = write_release(tmp_path / "release", architecture, publish(model))
    (release / "tokenizer.model").write_bytes(tokenizer_model)
    converted = convert(ConvertRequest(release, tmp_path / "out", shard_size=shard_size, context_length=64))
    assert (len([f for f in converted.files if f.path.endswith(".safetensors")]) > 1) == (shard_size is not None)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values())
    tokens = torch.randint(0, 61, (2, 40), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected, logits = model(tokens).logits, loaded.eval()(tokens).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    assert loaded.config.max_position_embeddings == 64
    assert loaded.generation_config.eos_token_id == 2
