"""The facts of one run of a model on a text: numbers, and no judgement of them. numpy, no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from magnetar.model.run.fingerprint import Array, Fingerprint


@dataclass(frozen=True, slots=True, eq=False)
class RunFacts:
    """What one run over ``ids`` came to. A number that could not be had is None.

    The first window is that of the fingerprint, where the run was given one; else it is the head of the text.
    """

    ids: tuple[int, ...]
    """The token ids that were scored."""
    text_bytes: int
    """Bytes of UTF-8 that ``ids`` stand for; 0 where there is no tokenizer."""
    routing: str
    """The name of the ``routing.Strategy`` that was followed."""
    exact: bool
    """Whether the run was computed in float32."""
    seconds: float
    """Wall time of the run."""
    not_finite: str | None = None
    """Where the first number was met that is NaN or infinite, in words; None if all were finite."""
    bits: float | None = None
    """What all ``ids`` together cost, in bits."""
    early_bits: float | None = None
    """Bits per token at the positions 0 to 15 of the windows. A wrong rotary embedding spares these."""
    late_bits: float | None = None
    """Bits per token at the last 64 positions of the windows."""
    decode_difference: float | None = None
    """How far the logits of decoding token by token are from those of one full pass, as a share of the largest logit.

    None also for the random routing, which draws anew for every token.
    """
    expert_load: tuple[tuple[float, ...], ...] = ()
    """For each layer the share of the answers that each expert gave; empty for a dense model."""
    chosen_experts: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """By layer and token, for the first tokens of the first window: the experts that answered, the heaviest first."""
    residual_rms: tuple[float, ...] = ()
    """The root mean square of the residual stream of the first window, after each layer."""
    first_window: tuple[int, ...] = ()
    """The token ids of the first window."""
    first_window_bits: Array | None = None
    """What each token of the first window cost [T], in bits."""
    fingerprint: Fingerprint | None = None
    """The fingerprint of the first window."""
    logits_at_golden: Array | None = None
    """The logits [T, K] of the first window at the tokens that the release's fingerprint names."""
    logits_at_other: Array | None = None
    """The logits [t, K] at the tokens that another model found likeliest; it may have answered fewer positions."""

    @property
    def tokens(self) -> int:
        """How many tokens were scored."""
        return len(self.ids)

    @property
    def tokens_per_second(self) -> float:
        """The speed of scoring."""
        return self.tokens / self.seconds

    @property
    def bits_per_byte(self) -> float | None:
        """The score; None where a number was not finite, or it is not known how many bytes the tokens stand for."""
        if self.bits is None or not self.text_bytes or not math.isfinite(self.bits):
            return None
        return self.bits / self.text_bytes

    def cost_of_first(self, count: int) -> float | None:
        """What the first ``count`` tokens of the first window cost, in bits."""
        return None if self.first_window_bits is None else float(self.first_window_bits[:count].sum(dtype="f8"))


def routing_entropy(load: Sequence[Sequence[float]]) -> float:
    """The entropy of the experts' load in bits, the mean of the layers; log2(E) where all experts answer as often."""
    layers = [-sum(share * math.log2(share) for share in layer if share > 0) for layer in load]
    return sum(layers) / len(layers) if layers else 0.0
