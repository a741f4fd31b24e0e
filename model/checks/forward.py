"""The third level: is a model that came to these numbers a model that works, and how much memory does it take to see?

No torch here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from magnetar.convert.layout.architecture import Architecture
from magnetar.findings import Finding
from magnetar.model.machine.machine import NEXT_ONE, Machine
from magnetar.model.run.weights import Weights

DECODE_TOLERANCE = 5e-4
"""How far decoding may stray from a full pass, as a share of the largest logit; mistral-inference's own bound."""

ROUNDED_TOLERANCE = 5e-2
"""The same for arithmetic in bfloat16, whose rounding alone makes 9e-3 on the bundled release."""

TELLING_TOKENS = 256
"""With fewer tokens than this, that an expert answered none of them is no news."""

INTERPRETER = 320 << 20
"""Roughly what Python, numpy and torch take before a tensor is read."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The numbers that are judged; see ``BootReport`` for the units."""

    bits_per_byte: float | None
    tokens: int
    text_bytes: int
    decode_difference: float | None
    expert_load: Sequence[Sequence[float]]
    not_finite: str | None
    exact: bool = True
    """Whether it was computed in float32."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The score that the release is known to have, in bits per byte, give or take a share of it. None if unknown."""

    bits_per_byte: float | None = None
    tolerance: float = 0.01

    def admits(self, bits_per_byte: float) -> bool:
        """Whether a score is as expected."""
        known = self.bits_per_byte
        return known is None or abs(bits_per_byte - known) <= self.tolerance * known


def find_faults(measured: Measured, architecture: Architecture, expectation: Expectation) -> Iterator[Finding]:
    """Why a model that came to these numbers is not healthy; nothing if it is."""
    if measured.not_finite is not None:
        yield Finding("not-finite", "", measured.not_finite)
    if measured.bits_per_byte is not None:
        yield from _judge_score(measured, measured.bits_per_byte, architecture, expectation)
    allowed = DECODE_TOLERANCE if measured.exact else ROUNDED_TOLERANCE
    if measured.decode_difference is not None and measured.decode_difference > allowed:
        stray = f"strays from the full pass by {measured.decode_difference:.1e} of the largest logit"
        yield Finding("decoding", "", f"decoding token by token {stray}")
    if measured.tokens >= TELLING_TOKENS:
        yield from _find_dead_experts(measured.expert_load)


def _judge_score(
    measured: Measured, score: float, architecture: Architecture, expectation: Expectation
) -> Iterator[Finding]:
    guessing = math.log2(architecture.vocab_size) * measured.tokens / measured.text_bytes
    if score >= guessing:
        yield Finding("guessing", "", f"{score:.3f} bits per byte is no better than guessing ({guessing:.3f})")
    if not expectation.admits(score):
        wanted = f"{expectation.bits_per_byte:.4f} was expected, within {expectation.tolerance:.1%}"
        yield Finding("score", "", f"{score:.4f} bits per byte, where {wanted}")


def _find_dead_experts(load: Sequence[Sequence[float]]) -> Iterator[Finding]:
    for layer, shares in enumerate(load):
        dead = [str(expert) for expert, share in enumerate(shares) if share == 0]
        if dead:
            yield Finding("dead-expert", "", f"layer {layer}: no token went to expert {', '.join(dead)}")


def estimate_memory(weights: Weights, architecture: Architecture, tokens: int, *, ahead: bool = True) -> int:
    """About how many bytes a streamed pass over ``tokens`` takes at its peak, whatever the number of layers."""
    a = architecture
    largest = max(spec.nbytes for spec in weights.specs.values())
    attention = 2 * 4 * a.dim * a.head_dim * (a.n_heads + a.n_kv_heads)
    activations = 4 * tokens * (8 * a.dim + 3 * a.hidden_dim)
    logits = 4 * min(tokens, 2048) * a.vocab_size * 3
    return INTERPRETER + (2 if ahead else 1) * largest + attention + activations + logits


def room_ahead(weights: Weights, architecture: Architecture, tokens: int, machine: Machine) -> int:
    """Bytes of tensors that such a pass may read ahead: one tensor, or as much more as is allowed, or none."""
    if not machine.admits(estimate_memory(weights, architecture, tokens)):
        return 0
    if machine.max_memory is None:
        return NEXT_ONE
    return machine.max_memory - estimate_memory(weights, architecture, tokens, ahead=False)
