"""The sizes of a model of the Mistral family, dense or Mixtral, read from the two files that state them, and written.

``params.json`` is the publisher's file, ``config.json`` that of transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magnetar.errors import LayoutError

MIXTRAL_ROPE_THETA = 1e6
"""The params.json of Mixtral states no theta. mistral-inference and llama.cpp take 1e6 wherever ``moe`` is there."""

MISTRAL_7B_ROPE_THETA = 1e4
"""For a dense params.json with a sliding window and no theta: that is Mistral 7B v0.1."""

DEFAULT_CONTEXT = 32768
"""Tokens. Written where no file states the longest context."""

MAX_DIMENSION = 1 << 24
"""No dimension of a real model comes near this. It bounds what a hostile file can make us allocate."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a decoder. ``n_experts`` is 0 where each layer has one dense feed-forward block.

    Raises ``LayoutError`` for sizes that are impossible.
    """

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float
    vocab_size: int
    rope_theta: float
    n_experts: int = 0
    experts_per_token: int = 0
    sliding_window: int | None = None
    context_length: int | None = None

    def __post_init__(self) -> None:
        counts = (
            self.dim,
            self.n_layers,
            self.head_dim,
            self.hidden_dim,
            self.n_heads,
            self.n_kv_heads,
            self.vocab_size,
        )
        if not all(0 < count <= MAX_DIMENSION for count in counts):
            raise LayoutError(f"an architecture needs positive sizes of at most {MAX_DIMENSION}, not {counts}")
        if not 0 <= self.n_experts <= MAX_DIMENSION or (
            self.n_experts and not 0 < self.experts_per_token <= self.n_experts
        ):
            raise LayoutError(f"{self.experts_per_token} of {self.n_experts} experts per token is impossible")
        if self.n_heads % self.n_kv_heads:
            raise LayoutError(f"{self.n_heads} heads cannot share {self.n_kv_heads} key-value heads evenly")
        if self.head_dim % 2:
            raise LayoutError(f"a head of {self.head_dim} dimensions cannot be rotated in pairs")

    @property
    def total_parameters(self) -> int:
        """Every weight, norms and router included."""
        return self._parameters(max(self.n_experts, 1))

    @property
    def active_parameters(self) -> int:
        """The weights that are used for one token: all but those of the experts that the router leaves out."""
        return self._parameters(max(self.experts_per_token, 1))

    def _parameters(self, experts: int) -> int:
        attention = 2 * self.dim * self.head_dim * (self.n_heads + self.n_kv_heads)
        layer = attention + 2 * self.dim + self.n_experts * self.dim + experts * 3 * self.dim * self.hidden_dim
        return self.n_layers * layer + 2 * self.vocab_size * self.dim + self.dim

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Architecture":
        """Read the publisher's ``params.json``. Raises ``LayoutError`` naming a key that is missing or malformed."""
        moe = params.get("moe") or {}
        if not isinstance(moe, Mapping):
            raise LayoutError("params.json: moe is not an object", path=Path("params.json"))
        window = _optional_count(params, "sliding_window", "params.json")
        theta = params.get("rope_theta")
        if theta is None:
            theta = MISTRAL_7B_ROPE_THETA if window is not None and not moe else MIXTRAL_ROPE_THETA
        return cls(
            **{key: _count(params, key, "params.json") for key in PARAMS_COUNTS},
            norm_eps=_number(params.get("norm_eps"), "norm_eps", "params.json"),
            rope_theta=_number(theta, "rope_theta", "params.json"),
            n_experts=_count(moe, "num_experts", "params.json") if moe else 0,
            experts_per_token=_count(moe, "num_experts_per_tok", "params.json") if moe else 0,
            sliding_window=window,
        )

    def to_params(self) -> dict[str, Any]:
        """``params.json``, in the publisher's order of keys. Theta is left out only where every reader takes 1e6."""
        params: dict[str, Any] = {key: getattr(self, key) for key in PARAMS_COUNTS if key != "vocab_size"}
        params |= {"norm_eps": self.norm_eps, "vocab_size": self.vocab_size}
        if self.sliding_window is not None:
            params["sliding_window"] = self.sliding_window
        if self.rope_theta != MIXTRAL_ROPE_THETA or not self.n_experts:
            params["rope_theta"] = self.rope_theta
        if self.n_experts:
            params["moe"] = {"num_experts_per_tok": self.experts_per_token, "num_experts": self.n_experts}
        return params

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Architecture":
        """Read the ``config.json`` of transformers for a ``mistral`` or ``mixtral``. Raises ``LayoutError``."""
        kind = config.get("model_type")
        if kind not in ("mistral", "mixtral"):
            what = f"config.json: model_type is {kind!r}; only mistral and mixtral are known"
            raise LayoutError(what, path=Path("config.json"))
        heads, dim = _count(config, "num_attention_heads", "config.json"), _count(config, "hidden_size", "config.json")
        rope = config.get("rope_parameters")
        theta = rope.get("rope_theta") if isinstance(rope, Mapping) else config.get("rope_theta")
        moe = kind == "mixtral"
        return cls(
            dim=dim,
            n_layers=_count(config, "num_hidden_layers", "config.json"),
            head_dim=_optional_count(config, "head_dim", "config.json") or dim // heads,
            hidden_dim=_count(config, "intermediate_size", "config.json"),
            n_heads=heads,
            n_kv_heads=_optional_count(config, "num_key_value_heads", "config.json") or heads,
            norm_eps=_number(config.get("rms_norm_eps", 1e-5), "rms_norm_eps", "config.json"),
            vocab_size=_count(config, "vocab_size", "config.json"),
            rope_theta=_number(theta if theta is not None else (1e6 if moe else 1e4), "rope_theta", "config.json"),
            n_experts=_count(config, "num_local_experts", "config.json") if moe else 0,
            experts_per_token=_count(config, "num_experts_per_tok", "config.json") if moe else 0,
            sliding_window=_optional_count(config, "sliding_window", "config.json"),
            context_length=_optional_count(config, "max_position_embeddings", "config.json"),
        )

    def to_config(self, dtype: str) -> dict[str, Any]:
        """``config.json``, with the keys that transformers 4 reads (``rope_theta``, ``torch_dtype``) and those of 5."""
        config: dict[str, Any] = {
            "architectures": ["MixtralForCausalLM" if self.n_experts else "MistralForCausalLM"],
            "model_type": "mixtral" if self.n_experts else "mistral",
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.dim,
            "initializer_range": 0.02,
            "intermediate_size": self.hidden_dim,
            "max_position_embeddings": self.context_length or DEFAULT_CONTEXT,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_kv_heads,
            "rms_norm_eps": self.norm_eps,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "rope_theta": self.rope_theta,
            "sliding_window": self.sliding_window,
            "tie_word_embeddings": False,
            "dtype": dtype,
            "torch_dtype": dtype,
            "use_cache": True,
            "vocab_size": self.vocab_size,
        }
        if self.n_experts:
            config |= {"num_experts_per_tok": self.experts_per_token, "num_local_experts": self.n_experts}
        return dict(sorted(config.items()))


PARAMS_COUNTS = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size")


def _count(table: Mapping[str, Any], key: str, where: str) -> int:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise LayoutError(f"{where}: {key} should be a positive whole number, not {value!r}", path=Path(where))
    return value


def _optional_count(table: Mapping[str, Any], key: str, where: str) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():  # params.json sometimes quotes its window
        value = int(value)
    return _count({key: value}, key, where)


def _number(value: object, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise LayoutError(f"{where}: {key} should be a positive number, not {value!r}", path=Path(where))
    return float(value)
