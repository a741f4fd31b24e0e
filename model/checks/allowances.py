"""How far weights may be from their release, by the format that they are stored in. No torch here.

The numbers rest on the table of ``benchmarks/faults.py``: no format, declared as such, may fail by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from magnetar.model.run.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class FormatAllowance:
    """How far weights in some format may be from the release's own."""

    divergence: float
    """The mean of KL(release, ours) over the positions, in nats."""
    nmse: float
    """The normalised mean squared error of the logits, or of the residual stream after a layer."""
    agreement: float
    """The least share of the positions at which both find the same token likeliest."""
    score: float
    """The difference of the bits per byte, as a share of the release's."""


EXACT = FormatAllowance(1e-4, 1e-4, 0.99, 0.001)
"""For the dtype of the fingerprint itself: what other kernels and machines make of the same bytes, and no more."""

HALF = FormatAllowance(2e-3, 1e-3, 0.97, 0.005)
ROUNDED = HALF
"""For weights of any format that are computed with in bfloat16: 1.9e-4, 4.4e-4 and 0.986 on the bundled release."""

EIGHT_BIT = FormatAllowance(5e-3, 5e-3, 0.95, 0.01)
EIGHT_BIT_FLOAT = FormatAllowance(3e-2, 3e-2, 0.88, 0.02)
FOUR_BIT = FormatAllowance(0.15, 0.15, 0.70, 0.05)
COARSE = FormatAllowance(1.0, 0.6, 0.4, 0.3)
"""For a format that is not known."""

ALLOWANCES: Mapping[str, FormatAllowance] = {
    "F32": HALF,
    "F16": HALF,
    "BF16": HALF,
    "Q8_0": EIGHT_BIT,
    "I8": EIGHT_BIT,
    "F8_E4M3": EIGHT_BIT_FLOAT,
    "Q6_K": EIGHT_BIT_FLOAT,
    "Q5_0": FOUR_BIT,
    "Q5_1": FOUR_BIT,
    "Q5_K": FOUR_BIT,
    "Q4_0": FOUR_BIT,
    "Q4_1": FOUR_BIT,
    "Q4_K": FOUR_BIT,
    "I4": FOUR_BIT,
}
"""By the dtype or block format of most of the weights."""


def allowance_for(kind: str, golden: Fingerprint) -> FormatAllowance:
    """How far weights of ``kind`` may be from the release with the fingerprint ``golden``."""
    return EXACT if kind == golden.kind else ALLOWANCES.get(kind, COARSE)


def score_tolerance(kind: str, asked: float) -> float:
    """How far the score of weights of ``kind`` may be from the release's, as a share of it: at least ``asked``."""
    return max(asked, ALLOWANCES.get(kind, COARSE).score)


def looser(one: FormatAllowance, other: FormatAllowance) -> FormatAllowance:
    """The one that allows more."""
    return max(one, other, key=lambda allowance: allowance.divergence)
