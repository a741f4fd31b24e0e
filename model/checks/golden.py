"""The last level: how far a model strays from the fingerprint of its release, and from which layer on. No torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from magnetar.findings import Finding
from magnetar.model.run.fingerprint import Array, Fingerprint


@dataclass(frozen=True, slots=True)
class Allowance:
    """How far weights kept in some format may stray: mean KL in nats, NMSE, the share of positions to agree.

    ``score`` is how far bits per byte may be from the release's, as a share of it.
    """

    divergence: float
    nmse: float
    agreement: float
    score: float


EXACT = Allowance(1e-4, 1e-4, 0.99, 0.001)
"""For the dtype of the fingerprint itself: what other kernels and machines make of the same bytes, and no more."""

HALF = Allowance(2e-3, 1e-3, 0.97, 0.005)
ROUNDED = HALF
"""For weights of any format that are computed with in bfloat16: 1.9e-4, 4.4e-4 and 0.986 on the bundled release."""

EIGHT_BIT = Allowance(5e-3, 5e-3, 0.95, 0.01)
EIGHT_BIT_FLOAT = Allowance(3e-2, 3e-2, 0.88, 0.02)
FOUR_BIT = Allowance(0.15, 0.15, 0.70, 0.05)
COARSE = Allowance(1.0, 0.6, 0.4, 0.3)

ALLOWANCES: Mapping[str, Allowance] = {
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
"""By the format that most of the weights are kept in; see ``benchmarks/faults.py`` for the table that they rest on."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run held against a fingerprint.

    ``divergence`` is KL(golden, ours) in nats, the mean of the positions, over the eight golden pieces and all others
    as one. ``nmse`` is of the eight logits, each position's mean taken off. ``agreement`` is the share of positions
    with the same likeliest piece. ``layer_errors`` are the normalised squared errors of the residual stream after
    each layer; ``first_diverging`` is the first that is too large, None where there is none.
    """

    divergence: float
    nmse: float
    agreement: float
    layer_errors: tuple[float, ...]
    first_diverging: int | None
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Example:
    """What a model should say, how far it may stray from it, and from which layer on it does (None if unknown)."""

    fingerprint: Fingerprint
    allowance: Allowance
    first_diverging: int | None


def allowance_for(kind: str, golden: Fingerprint) -> Allowance:
    """How far weights of ``kind`` may stray from ``golden``."""
    return EXACT if kind == golden.kind else ALLOWANCES.get(kind, COARSE)


def score_tolerance(kind: str, asked: float) -> float:
    """How far the score of weights of ``kind`` may stray, as a share of it: as asked for, or as the format has it."""
    return max(asked, ALLOWANCES.get(kind, COARSE).score)


def looser(one: Allowance, other: Allowance) -> Allowance:
    """The one that allows more."""
    return max(one, other, key=lambda allowance: allowance.divergence)


def compare(golden: Fingerprint, ours: Fingerprint, at_golden: Array, kind: str) -> Comparison:
    """Hold ``ours``, of weights of ``kind``, against ``golden``; ``at_golden`` as for ``measure``."""
    return measure(golden, ours, at_golden, allowance_for(kind, golden))


def measure_shared(theirs: Fingerprint, ours: Fingerprint, at_theirs: Array, allowance: Allowance) -> Comparison:
    """``measure`` where ``theirs`` may be of the first positions only, and of no layers, or of others."""
    count = len(theirs.ids)
    ours = replace(ours, top_ids=ours.top_ids[:count], logsumexp=ours.logsumexp[:count])
    if theirs.residual_samples.shape != ours.residual_samples.shape:  # a server, or another shape of model
        none = np.zeros((0, 0), np.float32)
        theirs, ours = replace(theirs, residual_samples=none), replace(ours, residual_samples=none)
    return measure(theirs, ours, at_theirs, allowance)


def measure(golden: Fingerprint, ours: Fingerprint, at_golden: Array, allowance: Allowance) -> Comparison:
    """How far ``ours`` is from ``golden``; ``at_golden`` [T, K] are our logits of the golden pieces."""
    errors = tuple(_layer_errors(golden, ours))
    return Comparison(
        divergence=_divergence(golden, at_golden, ours.logsumexp),
        nmse=_nmse(_centre(golden.top_logits), _centre(at_golden)),
        agreement=float((golden.top_ids[:, 0] == ours.top_ids[:, 0]).mean()),
        layer_errors=errors,
        first_diverging=next((layer for layer, error in enumerate(errors) if error > allowance.nmse), None),
        allowance=allowance,
    )


def find_strays(comparison: Comparison, than: str = "the release") -> Iterator[Finding]:
    """What is beyond the allowance, with the layer from which on it is. ``than`` says what was held against."""
    allowance, layer = comparison.allowance, comparison.first_diverging
    since = "" if layer is None else f", from layer {layer} on"
    where = "output" if layer is None else f"layers.{layer}"
    if comparison.divergence > allowance.divergence:
        detail = f"strays from {than} by a KL of {comparison.divergence:.2g} nats{since}"
        yield Finding("divergence", where, f"{detail}; {allowance.divergence:g} is allowed")
    elif comparison.nmse > allowance.nmse:
        detail = f"the NMSE of its logits against {than} is {comparison.nmse:.2g}{since}"
        yield Finding("nmse", where, f"{detail}; {allowance.nmse:g} is allowed")
    elif comparison.agreement < allowance.agreement:
        detail = f"has the likeliest piece of {than} at {comparison.agreement:.1%} of the positions{since}"
        yield Finding("agreement", where, f"{detail}; {allowance.agreement:.0%} is wanted")
    elif layer is not None:
        detail = f"the residual stream after it strays from {than} by {comparison.layer_errors[layer]:.2g}"
        yield Finding("layer", where, f"{detail}; {allowance.nmse:g} is allowed")


def _divergence(golden: Fingerprint, at_golden: Array, logsumexp: Array) -> float:
    theirs = np.float64(golden.top_logits) - golden.logsumexp[:, None]
    mine = np.float64(at_golden) - logsumexp[:, None]
    others = [np.log(np.clip(1 - np.exp(x).sum(1), 1e-9, 1)) for x in (theirs, mine)]
    kept = (np.exp(theirs) * (theirs - mine)).sum(1) + np.exp(others[0]) * (others[0] - others[1])
    return float(kept.mean())


def _layer_errors(golden: Fingerprint, ours: Fingerprint) -> Iterator[float]:
    for theirs, mine in zip(golden.residual_samples, ours.residual_samples, strict=True):
        yield _nmse(theirs, mine)


def _nmse(wanted: Array, found: Array) -> float:
    power = float(np.square(np.float64(wanted)).sum())
    error = float(np.square(np.float64(wanted) - found).sum())
    return error / power if power else float(error > 0)


def _centre(logits: Array) -> Array:
    return np.asarray(logits - logits.mean(1, keepdims=True))
