"""The level ``forward``: does a model that came to these numbers work? No torch here."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from magnetar.convert.layout.architecture import Architecture
from magnetar.findings import Finding
from magnetar.model.checks.levels import Level, LevelResult, conclude
from magnetar.model.run.run_facts import RunFacts

MAX_DECODE_DIFFERENCE = 5e-4
"""How far decoding may be from a full pass, as a share of the largest logit; mistral-inference's own bound."""

MAX_DECODE_DIFFERENCE_BF16 = 5e-2
"""The same for arithmetic in bfloat16, whose rounding alone makes 9e-3 on the bundled release."""

MIN_LOAD_TOKENS = 256
"""With fewer tokens than this, it says nothing that an expert answered none of them."""


@dataclass(frozen=True, slots=True)
class ExpectedScore:
    """The score that the release is known to have, in bits per byte; None if it is not known.

    A score may differ from it by the share ``tolerance``.
    """

    bits_per_byte: float | None = None
    tolerance: float = 0.01

    def admits(self, bits_per_byte: float) -> bool:
        """Whether a score is as expected. Any score is, where none is known."""
        known = self.bits_per_byte
        return known is None or abs(bits_per_byte - known) <= self.tolerance * known


UNKNOWN_SCORE = ExpectedScore()


def judge_forward(run: RunFacts, architecture: Architecture, expected: ExpectedScore) -> LevelResult:
    """Hold the numbers of a run against what any working model does, and against the score that is expected."""
    remark = f"{run.tokens:,} tokens at {run.tokens_per_second:,.0f} a second"
    return conclude(Level.FORWARD, _find_faults(run, architecture, expected), remark)


def _find_faults(run: RunFacts, architecture: Architecture, expected: ExpectedScore) -> Iterator[Finding]:
    if run.not_finite is not None:
        yield Finding("not-finite", "", run.not_finite)
    score = run.bits_per_byte
    if score is not None:
        guessing = math.log2(architecture.vocab_size) * run.tokens / run.text_bytes
        if score >= guessing:
            yield Finding("guessing", "", f"{score:.3f} bits per byte is no better than guessing ({guessing:.3f})")
        if not expected.admits(score):
            wanted = f"{expected.bits_per_byte:.4f} was expected, within {expected.tolerance:.1%}"
            yield Finding("score", "", f"{score:.4f} bits per byte, where {wanted}")
    allowed = MAX_DECODE_DIFFERENCE if run.exact else MAX_DECODE_DIFFERENCE_BF16
    if run.decode_difference is not None and run.decode_difference > allowed:
        difference = f"strays from the full pass by {run.decode_difference:.1e} of the largest logit"
        yield Finding("decoding", "", f"decoding token by token {difference}")
    if run.tokens >= MIN_LOAD_TOKENS:
        yield from _find_dead_experts(run.expert_load)


def _find_dead_experts(load: Sequence[Sequence[float]]) -> Iterator[Finding]:
    for layer, shares in enumerate(load):
        dead = [str(expert) for expert, share in enumerate(shares) if share == 0]
        if dead:
            yield Finding("dead-expert", "", f"layer {layer}: no token went to expert {', '.join(dead)}")
