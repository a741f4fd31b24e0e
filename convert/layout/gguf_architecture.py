"""Read the sizes of a model from the metadata of a GGUF file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import LayoutError

ARCHITECTURE = "llama"
"""llama.cpp's name for this family, with or without experts."""


def read_architecture(metadata: Mapping[str, Any], where: str) -> Architecture:
    """The sizes that the metadata of the file ``where`` states.

    Raises ``LayoutError`` naming a key that is missing or malformed.
    """
    if metadata.get("general.architecture") != ARCHITECTURE:
        found = str(metadata.get("general.architecture"))[:40]
        what = f"{where}: is of the architecture {found!r}; only {ARCHITECTURE} is known"
        raise LayoutError(what, path=Path(where))
    values = {
        key.removeprefix(f"{ARCHITECTURE}."): value
        for key, value in metadata.items()
        if key.startswith(f"{ARCHITECTURE}.")
    }
    if values.get("rope.scaling.type", "none") != "none":
        what = f"{where}: scales its rotary positions, which this family does not"
        raise LayoutError(what, path=Path(where))
    try:
        return Architecture.from_config(_as_config(values, metadata))
    except LayoutError as error:
        what = error.message.replace("config.json", "its metadata")
        raise LayoutError(f"{where}: {what}", path=Path(where)) from error


def _as_config(values: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers under the names of config.json, so that they are checked in one place."""
    experts = values.get("expert_count", 0)
    theta, epsilon = values.get("rope.freq_base", 1e4), values.get("attention.layer_norm_rms_epsilon")
    return {
        "model_type": "mixtral" if experts else "mistral",
        "hidden_size": values.get("embedding_length"),
        "num_hidden_layers": values.get("block_count"),
        "num_attention_heads": values.get("attention.head_count"),
        "num_key_value_heads": values.get("attention.head_count_kv"),
        "head_dim": values.get("attention.key_length", values.get("rope.dimension_count")),
        "intermediate_size": values.get("feed_forward_length"),
        "vocab_size": values.get("vocab_size", len(metadata.get("tokenizer.ggml.tokens") or ())),
        "rms_norm_eps": _short(epsilon),
        "rope_theta": _short(theta),
        "num_local_experts": experts,
        "num_experts_per_tok": values.get("expert_used_count"),
        "max_position_embeddings": values.get("context_length"),
    }


def _short(value: object) -> object:
    """A 32-bit float as the shortest decimal that rounds to it: 9.999999747378752e-06 was 1e-05 when it was written."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
