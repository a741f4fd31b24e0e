"""The level ``golden``: how far a run is from the fingerprint of its release, and from which layer on. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from magnetar.findings import Finding
from magnetar.model.checks.allowances import ROUNDED, FormatAllowance, allowance_for, looser
from magnetar.model.checks.levels import Level, LevelResult, conclude, skip
from magnetar.model.run.fingerprint import Array, Fingerprint, is_like
from magnetar.model.run.run_facts import RunFacts


@dataclass(frozen=True, slots=True)
class FingerprintComparison:
    """Two fingerprints of one text held against each other: the one that is right, and ours."""

    divergence: float
    """The mean of KL(right, ours) over the positions, in nats: over the eight likeliest tokens, and all others as one.
    """
    nmse: float
    """The normalised mean squared error of the eight logits, each position's mean taken off."""
    agreement: float
    """The share of positions at which both find the same token likeliest."""
    layer_errors: tuple[float, ...]
    """The normalised squared error of the residual stream after each layer."""
    first_diverging: int | None
    """The first layer whose error is more than is allowed; None if there is none."""
    allowance: FormatAllowance


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model should answer. ``first_diverging`` is the first layer that does not; None if it is not known."""

    fingerprint: Fingerprint
    allowance: FormatAllowance
    first_diverging: int | None


def judge_golden(
    run: RunFacts, golden: Fingerprint | None, kind: str
) -> tuple[LevelResult, FingerprintComparison | None]:
    """Hold a run of weights of ``kind`` against the fingerprint of the release; skip that where it cannot be done."""
    reason = ""
    if golden is None:
        reason = "the release has no fingerprint"
    elif run.routing != "trained":
        reason = "a fingerprint is of the trained routing"
    elif run.fingerprint is None:
        reason = "its logits are not finite"
    elif run.logits_at_golden is None or not is_like(golden, run.fingerprint):
        reason = "the fingerprint is of another shape of model"
    if golden is None or run.fingerprint is None or run.logits_at_golden is None or reason:
        return skip(Level.GOLDEN, reason), None
    allowance = allowance_for(kind, golden)
    if not run.exact:
        allowance = looser(allowance, ROUNDED)
    found = compare_fingerprints(golden, run.fingerprint, run.logits_at_golden, allowance)
    remark = f"KL {found.divergence:.2g}, {found.agreement:.1%} of the likeliest pieces are the same"
    return conclude(Level.GOLDEN, find_deviations(found), remark), found


def compare_fingerprints(
    right: Fingerprint, ours: Fingerprint, at_right: Array, allowance: FormatAllowance
) -> FingerprintComparison:
    """How far ``ours`` is from ``right``; ``at_right`` [T, K] are our logits at the tokens that ``right`` names."""
    errors = tuple(_layer_errors(right, ours))
    return FingerprintComparison(
        divergence=_divergence(right, at_right, ours.logsumexp),
        nmse=_nmse(_centre(right.top_logits), _centre(at_right)),
        agreement=float((right.top_ids[:, 0] == ours.top_ids[:, 0]).mean()),
        layer_errors=errors,
        first_diverging=next((layer for layer, error in enumerate(errors) if error > allowance.nmse), None),
        allowance=allowance,
    )


def compare_overlap(
    right: Fingerprint, ours: Fingerprint, at_right: Array, allowance: FormatAllowance
) -> FingerprintComparison:
    """``compare_fingerprints`` where ``right`` may have only the first positions, and other layers or none."""
    count = len(right.ids)
    ours = replace(ours, top_ids=ours.top_ids[:count], logsumexp=ours.logsumexp[:count])
    if right.residual_samples.shape != ours.residual_samples.shape:  # a server, or another shape of model
        none = np.zeros((0, 0), np.float32)
        right, ours = replace(right, residual_samples=none), replace(ours, residual_samples=none)
    return compare_fingerprints(right, ours, at_right, allowance)


def find_deviations(found: FingerprintComparison, than: str = "the release") -> Iterator[Finding]:
    """What is beyond the allowance, as one finding at most, with the first layer that strays.

    ``than`` says in words what the run was held against.
    """
    allowance, layer = found.allowance, found.first_diverging
    since = "" if layer is None else f", from layer {layer} on"
    where = "output" if layer is None else f"layers.{layer}"
    if found.divergence > allowance.divergence:
        detail = f"strays from {than} by a KL of {found.divergence:.2g} nats{since}"
        yield Finding("divergence", where, f"{detail}; {allowance.divergence:g} is allowed")
    elif found.nmse > allowance.nmse:
        detail = f"the NMSE of its logits against {than} is {found.nmse:.2g}{since}"
        yield Finding("nmse", where, f"{detail}; {allowance.nmse:g} is allowed")
    elif found.agreement < allowance.agreement:
        detail = f"has the likeliest piece of {than} at {found.agreement:.1%} of the positions{since}"
        yield Finding("agreement", where, f"{detail}; {allowance.agreement:.0%} is wanted")
    elif layer is not None:
        detail = f"the residual stream after it strays from {than} by {found.layer_errors[layer]:.2g}"
        yield Finding("layer", where, f"{detail}; {allowance.nmse:g} is allowed")


def _divergence(right: Fingerprint, at_right: Array, logsumexp: Array) -> float:
    theirs = np.float64(right.top_logits) - right.logsumexp[:, None]
    mine = np.float64(at_right) - logsumexp[:, None]
    others = [np.log(np.clip(1 - np.exp(x).sum(1), 1e-9, 1)) for x in (theirs, mine)]
    kept = (np.exp(theirs) * (theirs - mine)).sum(1) + np.exp(others[0]) * (others[0] - others[1])
    return float(kept.mean())


def _layer_errors(right: Fingerprint, ours: Fingerprint) -> Iterator[float]:
    for theirs, mine in zip(right.residual_samples, ours.residual_samples, strict=True):
        yield _nmse(theirs, mine)


def _nmse(wanted: Array, found: Array) -> float:
    power = float(np.square(np.float64(wanted)).sum())
    error = float(np.square(np.float64(wanted) - found).sum())
    return error / power if power else float(error > 0)


def _centre(logits: Array) -> Array:
    return np.asarray(logits - logits.mean(1, keepdims=True))
