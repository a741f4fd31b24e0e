"""The layouts that are known, as data, and the detection of a layout by the names of tensors."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tensor_layout import EXPERT_ROLES, Arrangement, Rule, TensorLayout
from magnetar.errors import LayoutError

MAX_MATRICES = 1 << 18
"""Layers times experts. A hostile configuration could fill memory with more; the largest releases have thousands."""

_MISTRAL_COMMON = (
    Rule("embedding", "tok_embeddings.weight"),
    Rule("attention_norm", "layers.{layer}.attention_norm.weight"),
    Rule("q", "layers.{layer}.attention.wq.weight"),
    Rule("k", "layers.{layer}.attention.wk.weight"),
    Rule("v", "layers.{layer}.attention.wv.weight"),
    Rule("o", "layers.{layer}.attention.wo.weight"),
    Rule("ffn_norm", "layers.{layer}.ffn_norm.weight"),
)
_MISTRAL_LAST = (Rule("norm", "norm.weight"), Rule("output", "output.weight"))
_HF_COMMON = (
    Rule("embedding", "model.embed_tokens.weight"),
    Rule("attention_norm", "model.layers.{layer}.input_layernorm.weight"),
    Rule("q", "model.layers.{layer}.self_attn.q_proj.weight", Arrangement.HALF_SPLIT),
    Rule("k", "model.layers.{layer}.self_attn.k_proj.weight", Arrangement.HALF_SPLIT),
    Rule("v", "model.layers.{layer}.self_attn.v_proj.weight"),
    Rule("o", "model.layers.{layer}.self_attn.o_proj.weight"),
    Rule("ffn_norm", "model.layers.{layer}.post_attention_layernorm.weight"),
    Rule("dense_w1", "model.layers.{layer}.mlp.gate_proj.weight"),
    Rule("dense_w2", "model.layers.{layer}.mlp.down_proj.weight"),
    Rule("dense_w3", "model.layers.{layer}.mlp.up_proj.weight"),
)
_HF_LAST = (Rule("norm", "model.norm.weight"), Rule("output", "lm_head.weight"))

LAYOUTS: Mapping[str, TensorLayout] = {
    layout.name: layout
    for layout in (
        TensorLayout(
            "mistral",
            "the publisher's: one tensor for each expert",
            r"layers\.\d+\.feed_forward\.(gate|w1)\.weight",
            (
                *_MISTRAL_COMMON,
                Rule("router", "layers.{layer}.feed_forward.gate.weight"),
                *(
                    Rule(role, f"layers.{{layer}}.feed_forward.experts.{{expert}}.{role}.weight")
                    for role in EXPERT_ROLES
                ),
                *(Rule(f"dense_{role}", f"layers.{{layer}}.feed_forward.{role}.weight") for role in EXPERT_ROLES),
                *_MISTRAL_LAST,
            ),
        ),
        TensorLayout(
            "mistral-fused",
            "that of the first upload to the Hub: all experts of a layer in one tensor, w2 transposed",
            r"layers\.\d+\.block_sparse_moe\.w1",
            (
                *_MISTRAL_COMMON,
                Rule("router", "layers.{layer}.block_sparse_moe.gate.weight"),
                Rule("w1", "layers.{layer}.block_sparse_moe.w1", flat=True),
                Rule("w2", "layers.{layer}.block_sparse_moe.w2", Arrangement.TRANSPOSED, flat=True),
                Rule("w3", "layers.{layer}.block_sparse_moe.w3", flat=True),
                *_MISTRAL_LAST,
            ),
        ),
        TensorLayout(
            "hf",
            "that of transformers on disk: q and k for split halves, one tensor for each expert",
            r"model\.layers\.\d+\.(block_sparse_moe\.experts\.\d+\.w1|mlp\.gate_proj)\.weight",
            (
                *_HF_COMMON,
                Rule("router", "model.layers.{layer}.block_sparse_moe.gate.weight"),
                *(
                    Rule(role, f"model.layers.{{layer}}.block_sparse_moe.experts.{{expert}}.{role}.weight")
                    for role in EXPERT_ROLES
                ),
                *_HF_LAST,
            ),
        ),
        TensorLayout(
            "hf-fused",
            "that of transformers 5 in memory: experts stacked, gate and up projections in one tensor",
            r"model\.layers\.\d+\.mlp\.experts\.gate_up_proj",
            (
                *_HF_COMMON,
                Rule("router", "model.layers.{layer}.mlp.gate.weight"),
                Rule("w1", "model.layers.{layer}.mlp.experts.gate_up_proj", slot=0),
                Rule("w3", "model.layers.{layer}.mlp.experts.gate_up_proj", slot=1),
                Rule("w2", "model.layers.{layer}.mlp.experts.down_proj"),
                *_HF_LAST,
            ),
        ),
        TensorLayout(
            "mlx",
            "that of MLX-LM: as transformers', with the experts stacked",
            r"model\.layers\.\d+\.block_sparse_moe\.switch_mlp\.gate_proj\.weight",
            (
                *_HF_COMMON,
                Rule("router", "model.layers.{layer}.block_sparse_moe.gate.weight"),
                Rule("w1", "model.layers.{layer}.block_sparse_moe.switch_mlp.gate_proj.weight"),
                Rule("w3", "model.layers.{layer}.block_sparse_moe.switch_mlp.up_proj.weight"),
                Rule("w2", "model.layers.{layer}.block_sparse_moe.switch_mlp.down_proj.weight"),
                *_HF_LAST,
            ),
        ),
        TensorLayout(
            "gguf",
            "that of llama.cpp: experts stacked, rotary pairs as the publisher has them",
            r"blk\.\d+\.ffn_(gate|gate_exps)\.weight",
            (
                Rule("embedding", "token_embd.weight"),
                Rule("attention_norm", "blk.{layer}.attn_norm.weight"),
                Rule("q", "blk.{layer}.attn_q.weight"),
                Rule("k", "blk.{layer}.attn_k.weight"),
                Rule("v", "blk.{layer}.attn_v.weight"),
                Rule("o", "blk.{layer}.attn_output.weight"),
                Rule("ffn_norm", "blk.{layer}.ffn_norm.weight"),
                Rule("router", "blk.{layer}.ffn_gate_inp.weight"),
                Rule("w1", "blk.{layer}.ffn_gate_exps.weight"),
                Rule("w3", "blk.{layer}.ffn_up_exps.weight"),
                Rule("w2", "blk.{layer}.ffn_down_exps.weight"),
                Rule("dense_w1", "blk.{layer}.ffn_gate.weight"),
                Rule("dense_w2", "blk.{layer}.ffn_down.weight"),
                Rule("dense_w3", "blk.{layer}.ffn_up.weight"),
                Rule("norm", "output_norm.weight"),
                Rule("output", "output.weight"),
            ),
        ),
    )
}


def find_layout(name: str) -> TensorLayout:
    """The layout of that name. Raises ``LayoutError`` with a list of all layouts if there is none."""
    if name not in LAYOUTS:
        raise LayoutError(f"the layout {name!r} is not known", hint=f"known are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def detect_layout(names: Iterable[str]) -> tuple[TensorLayout, str]:
    """The layout that has such names of tensors, and the reason in words. Raises ``LayoutError`` for none, or two."""
    names, found = list(names), []
    for layout in LAYOUTS.values():
        named = next((name for name in names if re.fullmatch(layout.sign, name)), None)
        if named is not None:
            found.append((layout, f"by its names ({named}) it is {layout.title}"))
    if len(found) == 1:
        return found[0]
    if found:
        raise LayoutError(f"the names are of two layouts: {' and '.join(layout.name for layout, _ in found)}")
    some = ", ".join(sorted(names)[:3]) or "none at all"
    raise LayoutError(
        f"the names of the tensors ({some}) are those of no layout that is known",
        hint=f"known are {', '.join(LAYOUTS)}: models of the Mistral and Mixtral family",
    )


def check_tensors(
    layout: TensorLayout, architecture: Architecture, shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Check names and shapes against a layout. ``where`` names the file that states the architecture.

    Raises ``LayoutError`` naming the first tensors that are missing, extra or of another shape.
    """
    if architecture.n_layers * (1 + architecture.n_experts) > MAX_MATRICES:
        what = f"{where}: the configuration describes more matrices than any model has"
        raise LayoutError(what, path=Path(where))
    wanted = layout.tensors(architecture)
    faults = [(name, "is missing") for name in wanted if name not in shapes]
    faults += [(name, "should not be there") for name in shapes if name not in wanted]
    faults += [
        (name, f"has shape {list(shape)}, not {list(wanted[name].shape)}")
        for name, shape in shapes.items()
        if name in wanted and shape != wanted[name].shape
    ]
    if faults:
        first = "; ".join(f"{name} {fault}" for name, fault in faults[:3])
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise LayoutError(
            f"{where}: these are not the tensors of the model that its configuration describes in the layout "
            f"{layout.name}: {first}{more}",
            hint="check that the configuration file and the weights are of one release",
            path=Path(where),
            tensor=faults[0][0],
        )
