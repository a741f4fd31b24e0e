"""What the keys of configurations mean for a model of this family, as data.

Sources: ``configuration_mixtral.py``, ``configuration_mistral.py`` and ``configuration_utils.py`` of transformers 5.23;
``docs/gguf.md`` of ggml and ``llama-model.cpp``, ``llama-vocab.cpp`` of llama.cpp. A key that is not here is not known.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

RUNS_CODE = re.compile(
    r"auto_map|custom_(code|generate|pipelines?|ops)|trust_remote_code|.*chat_template.*|use_kernels?|kernel_config"
    r"|_?(attn|experts|attention)_implementation.*|.*_class_path|.*(plugin|hook|script|entry_?point).*"
)
"""Keys by which a runtime loads code, or runs a template."""


class Allowed(NamedTuple):
    """Values of a key that change nothing, and why.

    ``exact``: they are the only values that a model of this family has.
    """

    fits: Callable[[Any], bool]
    why: str
    exact: bool = False


def only(*values: Any, why: str) -> Allowed:
    """These values alone, of the same type."""
    return Allowed(lambda found: any(type(found) is type(value) and found == value for value in values), why, True)


def is_number(value: Any) -> bool:
    """A finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_text(value: Any) -> bool:
    """Short text."""
    return isinstance(value, str) and len(value) <= 1000


def is_version(value: Any) -> bool:
    """A version number."""
    return isinstance(value, str) and bool(re.fullmatch(r"\d+(\.\d+){1,3}([a-z.+-][\w.+-]{0,40})?", value))


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(key) and isinstance(each, str | int) for key, each in value.items())


CONFIG_ALLOWED: Mapping[str, Allowed] = {
    "transformers_version": Allowed(is_version, "it says which version wrote the file"),
    "_name_or_path": Allowed(is_text, "it says where the model was"),
    "router_aux_loss_coef": Allowed(is_number, "training alone uses it"),
    "router_jitter_noise": Allowed(is_number, "training alone uses it"),
    "output_router_logits": only(False, why="nothing more is put out"),
    "output_attentions": only(False, why="nothing more is put out"),
    "output_hidden_states": only(False, why="nothing more is put out"),
    "return_dict": only(True, why="it is the default"),
    "return_dict_in_generate": only(False, why="it is the default"),
    "pad_token_id": only(None, why="there is no padding"),
    "attention_bias": only(False, why="the family has no biases"),
    "mlp_bias": only(False, why="the family has no biases"),
    "chunk_size_feed_forward": only(0, why="it is the default"),
    "is_encoder_decoder": only(False, why="it is the default"),
    "is_decoder": only(False, True, why="this family always is one"),
    "add_cross_attention": only(False, why="it is the default"),
    "torchscript": only(False, why="it is the default"),
    "pretraining_tp": only(1, why="it is the default"),
    "problem_type": only(None, why="it is the default"),
    "id2label": Allowed(_is_labels, "only classifiers use it"),
    "label2id": Allowed(_is_labels, "only classifiers use it"),
    "quantization_config": only(None, why="nothing is quantised"),
    "quantization": only(None, why="nothing is quantised"),
}
"""Of config.json, beside the keys that a conversion writes."""

CONFIG_REFUSED = frozenset({"attention_bias", "mlp_bias", "quantization_config", "quantization", "add_cross_attention"})
"""Keys whose other values make another model, or other numbers, out of the same tensors."""

CONFIG_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "mixtral": {
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": 32000,
    },
    "mistral": {
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e4,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": 32000,
    },
}
"""What transformers takes where config.json leaves a key out. A head has ``hidden_size // num_attention_heads``."""

CONFIG_LEFT_OUT = frozenset({"attention_dropout", "head_dim", "initializer_range", "use_cache"})
"""Keys that published files of this family leave out, and whose default is the same in every program."""

PARAMS_ALLOWED: Mapping[str, Allowed] = {
    "max_batch_size": Allowed(is_number, "it bounds what is computed at once"),
    "model_type": only("transformer", why="it is the default"),
}
"""Of params.json, beside the keys that a conversion writes."""

GENERATION_ALLOWED: Mapping[str, Allowed] = {
    "transformers_version": Allowed(is_version, "it says which version wrote the file"),
    "pad_token_id": only(None, why="there is no padding"),
    "output_attentions": only(False, why="nothing more is put out"),
    "output_hidden_states": only(False, why="nothing more is put out"),
    "use_cache": only(True, why="it is the default"),
}
"""Of generation_config.json, beside the keys that a conversion writes."""

TOKENIZER_CONFIG_ALLOWED: Mapping[str, Allowed] = {
    "backend": only("tokenizers", why="tokenizer.json is read by that library"),
    "is_local": only(True, False, why="it says where the files were"),
    "local_files_only": only(True, False, why="it says where the files were"),
    "name_or_path": Allowed(is_text, "it says where the files were"),
    "extra_special_tokens": only({}, [], why="there are none"),
    "additional_special_tokens": only([], why="there are none"),
    "pad_token": only(None, why="there is no padding"),
    "use_default_system_prompt": only(False, why="there is no template"),
    "sp_model_kwargs": only({}, why="there are none"),
    "tokenizer_file": only(None, why="tokenizer.json is read"),
}
"""Of tokenizer_config.json, beside the keys that a conversion writes."""

TOKENIZER_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Names of the class of transformers 4 and 5 that reads tokenizer.json as it is."""

GGUF_TEXTS = re.compile(
    r"general\.(name|author|version|organization|finetune|basename|description|quantized_by|size_label|license"
    r"|license\.(name|link)|url|doi|uuid|repo_url|source\.(url|doi|uuid|repo_url|huggingface\.repository)"
    r"|base_model\.(count|\d+\.[a-z_]+)|dataset\.(count|\d+\.[a-z_]+)|tags|languages|datasets)"
    r"|quantize\.imatrix\.(file|dataset|entries_count|chunks_count)"
)
"""Keys of GGUF that describe a model to people (gguf.md, general metadata), or say how it was quantised."""

GGUF_SHOWN = frozenset({"general.type", "general.file_type", "general.quantization_version"})
"""Keys of GGUF that a conversion writes, and whose absence changes nothing."""

GGUF_ALLOWED: Mapping[str, Allowed] = {
    "general.alignment": only(32, why="it is the default"),
    "llama.rope.scaling.type": only("none", why="nothing is scaled"),
    "tokenizer.ggml.add_sep_token": only(False, why="it is the default"),
    "tokenizer.ggml.remove_extra_whitespaces": only(False, why="it is the default"),
}

GGUF_DEFAULTS: Mapping[str, Any] = {
    "llama.expert_count": 0,
    "llama.expert_used_count": 0,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.add_eos_token": False,
    "tokenizer.ggml.add_space_prefix": True,
}
"""What llama.cpp takes where a key is left out, for a SentencePiece vocabulary. Sizes are in ``judge_gguf``."""
