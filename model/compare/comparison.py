"""Ask another model about the same text, and measure how far its answers are from ours.

The other is a checkpoint, which is run here, or a server that gives log probabilities (``server.py``). It is held to be
right, since it is what the weights are compared with. torch is imported only when a checkpoint is run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from magnetar.convert.read.checkpoint_source import open_source
from magnetar.errors import BootError, OutsideError
from magnetar.events import Emit, ignore
from magnetar.findings import Finding, Outcome
from magnetar.model.checks.allowances import ALLOWANCES, EXACT, FOUR_BIT, ROUNDED, FormatAllowance, looser
from magnetar.model.checks.golden import FingerprintComparison, compare_overlap, find_deviations
from magnetar.model.checks.levels import LevelResult
from magnetar.model.run.fingerprint import Fingerprint
from magnetar.model.run.run_facts import RunFacts
from magnetar.model.run.weights import (
    RUNNABLE,
    explain_unrunnable,
    find_unrunnable,
    open_for_a_pass,
    stored_kind,
    view_to_run,
)

MAX_ASKED_TOKENS = 512
"""Tokens of the text that another model is asked about: one window, ``measure_run.WINDOW``."""

AGAINST = "against"
"""The name of the comparison among the levels."""

PROVEN = "these weights are as the fingerprint of their release says, so boot the other to see what is wrong with it"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the model called ``name`` answers to a window of token ids, as a fingerprint.

    The fingerprint of a server has no layers and an empty ``kind``, and it may be of the first ids only. ``bits`` are
    what the ids themselves cost under that model; None where it did not say.
    """

    name: str
    fingerprint: Fingerprint
    bits: float | None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there are no answers to compare with, and what to do about it."""

    reason: str
    hint: str = ""


class OtherModel(Protocol):
    """A model that can be asked."""

    name: str

    def answer(self, ids: Sequence[int], emit: Emit = ignore) -> Answers:
        """What it answers to ``ids``, or to the first of them, after ``<s>``.

        Raises ``OutsideError`` or ``BootError`` where it gives no answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """Our answers held against those of another model, on the same ``tokens``."""

    other: str
    """What the other is called."""
    kind: str
    """The dtype of its weights; empty if it is not known."""
    tokens: int
    bits_per_byte: float | None
    """Our score on these tokens; None if it is not known."""
    other_bits_per_byte: float | None
    """The other's score on these tokens; None if it is not known."""
    first_difference: int | None
    """The first position at which the likeliest tokens differ; None if there is none."""
    comparison: FingerprintComparison
    """The distance, with the other as the one that is right."""

    @property
    def excess(self) -> float | None:
        """How many bits per byte more ours takes."""
        if self.bits_per_byte is None or self.other_bits_per_byte is None:
            return None
        return self.bits_per_byte - self.other_bits_per_byte


class OtherCheckpoint:
    """Another checkpoint, in any layout. Raises what ``open_source`` raises, at once."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, str(path)
        open_source(path).close()

    def answer(self, ids: Sequence[int], emit: Emit = ignore) -> Answers:
        """Run it, as our own is run. Raises ``BootError`` if it cannot be run, or its logits are not finite."""
        from magnetar.model.run.measure_run import RunPlan, measure_run

        with open_for_a_pass(self._path) as source:
            weights, known = view_to_run(source), source.architecture.vocab_size
            unrunnable = find_unrunnable(weights.specs)
            if unrunnable is not None:
                raise BootError(f"{self.name}: {unrunnable.name} {explain_unrunnable(unrunnable.dtype)}")
            if max(ids) >= known:
                raise BootError(f"{self.name}: knows {known} pieces, and the text has the piece {max(ids)}")
            run = measure_run(weights, source.architecture, stored_kind(source), RunPlan(ids, decoded=1), emit=emit)
        if run.fingerprint is None:
            raise BootError(f"{self.name}: {run.not_finite}", hint="boot it, to see what is wrong with it")
        return Answers(self.name, run.fingerprint, run.bits)


def ask_other(other: OtherModel, ids: Sequence[int], vocab_size: int, emit: Emit = ignore) -> Answers | NoAnswer:
    """The answers of ``other`` to the first window of ``ids``, if they are about tokens that our model knows."""
    try:
        answers = other.answer(ids[:MAX_ASKED_TOKENS], emit)
    except (OutsideError, BootError) as error:
        return NoAnswer(error.message, error.hint)
    highest = int(answers.fingerprint.top_ids.max())
    if highest >= vocab_size:
        return NoAnswer(f"{answers.name}: says the piece {highest}, and these weights know {vocab_size}")
    return answers


def compare_answers(answers: Answers, run: RunFacts, kind: str, text_bytes: int) -> Agreement | NoAnswer:
    """Hold our run, of weights of ``kind``, against the ``answers`` of another model.

    ``text_bytes`` is how many bytes the tokens stand for that it answered; 0 if that is not known.
    """
    if run.fingerprint is None or run.logits_at_other is None:
        return NoAnswer("our own logits are not finite")
    theirs, ours = answers.fingerprint, run.fingerprint
    allowance = _allow(kind, theirs.kind)
    if not run.exact:
        allowance = looser(allowance, ROUNDED)
    differ = np.flatnonzero(theirs.top_ids[:, 0] != ours.top_ids[: len(theirs.ids), 0])
    return Agreement(
        other=answers.name,
        kind=theirs.kind,
        tokens=len(theirs.ids),
        bits_per_byte=_per_byte(run.cost_of_first(len(theirs.ids)), text_bytes),
        other_bits_per_byte=_per_byte(answers.bits, text_bytes),
        first_difference=int(differ[0]) if len(differ) else None,
        comparison=compare_overlap(theirs, ours, run.logits_at_other, allowance),
    )


def judge_agreement(agreement: Agreement | NoAnswer, *, proven: bool = False) -> LevelResult:
    """Good where the two differ by no more than their formats explain.

    ``proven`` says that our weights are as their release has them. Then it is the other that strays, and the finding
    says so. A comparison that was asked for and could not be made is a finding too.
    """
    if isinstance(agreement, NoAnswer):
        reason, hint = agreement.reason, agreement.hint
        finding = Finding(AGAINST, "", f"{reason}; {hint}" if hint else reason)
        return LevelResult(AGAINST, Outcome.UNKNOWN, (finding,), reason)
    found = agreement.comparison
    findings = tuple(find_deviations(found, than=agreement.other))
    if proven:
        findings = tuple(replace(finding, detail=f"{finding.detail}; {PROVEN}") for finding in findings)
    remark = f"{agreement.other}: KL {found.divergence:.2g}, {found.agreement:.1%} of the likeliest pieces are the same"
    return LevelResult(AGAINST, Outcome.BAD if findings else Outcome.GOOD, findings, remark)


def _allow(ours: str, theirs: str) -> FormatAllowance:
    """How far weights of two formats may be from each other. How coarse those of a server are is not known."""
    if not theirs:
        return looser(ALLOWANCES.get(ours, FOUR_BIT), FOUR_BIT)
    if ours == theirs and ours in RUNNABLE:
        return EXACT
    return looser(*(ALLOWANCES.get(kind, FOUR_BIT) for kind in (ours, theirs)))


def _per_byte(bits: float | None, size: int) -> float | None:
    return bits / size if bits is not None and size and math.isfinite(bits) else None
