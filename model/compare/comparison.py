"""The same text put to another: another checkpoint, or a server; and how far what it answers is from what ours does.

torch is imported only when a checkpoint is run.
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
from magnetar.model.checks.golden import (
    ALLOWANCES,
    EXACT,
    FOUR_BIT,
    ROUNDED,
    Allowance,
    Comparison,
    find_strays,
    looser,
    measure_shared,
)
from magnetar.model.checks.levels import LevelResult
from magnetar.model.run.fingerprint import Array, Fingerprint
from magnetar.model.run.weights import RUNNABLE, open_for_a_pass, say_unrunnable, stored_kind, view_to_run

WINDOW = 512
"""Tokens of the text that are put to another: those of ``examination.WINDOW``."""

AGAINST = "against"
"""What its row among the levels is called."""

PROVEN = "these weights are as the fingerprint of their release says, so boot the other to see what is wrong with it"


@dataclass(frozen=True, slots=True)
class Answers:
    """What ``name`` said to a window of ids, as a fingerprint; that of a server has no layers, and an empty ``kind``.

    It may be of the first ids only. ``bits`` are what the ids themselves cost under it; None where it did not say.
    """

    name: str
    fingerprint: Fingerprint
    bits: float | None


class Other(Protocol):
    """Whoever can be asked."""

    name: str

    def answer(self, ids: Sequence[int], emit: Emit = ignore) -> Answers:
        """What it says to ``ids``, or to the first of them, after ``<s>``.

        Raises ``OutsideError`` or ``BootError`` where it says nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """Ours held against another's answers to the same ``tokens``.

    ``kind`` is the dtype of its weights, empty if unknown. The two scores are in bits per byte over those tokens, None
    if not known. ``first_difference`` is the first position at which the likeliest pieces differ, None if none does.
    In ``comparison`` the other is the one that is held to be right.
    """

    other: str
    kind: str
    tokens: int
    bits_per_byte: float | None
    other_bits_per_byte: float | None
    first_difference: int | None
    comparison: Comparison

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
        """Run it, as our own is run. Raises ``BootError`` if it cannot be, or comes to no numbers."""
        from magnetar.model.run.measure_run import Task, examine

        with open_for_a_pass(self._path) as source:
            weights, known = view_to_run(source), source.architecture.vocab_size
            odd = next((spec for spec in weights.specs.values() if spec.dtype not in RUNNABLE), None)
            if odd is not None:
                raise BootError(f"{self.name}: {odd.name} {say_unrunnable(odd.dtype)}")
            if max(ids) >= known:
                raise BootError(f"{self.name}: knows {known} pieces, and the text has the piece {max(ids)}")
            kind = stored_kind(source)
            found = examine(weights, source.architecture, kind, Task(ids, decoded=1), emit=emit)
        if found.fingerprint is None:
            raise BootError(f"{self.name}: {found.not_finite}", hint="boot it, to see what is wrong with it")
        return Answers(self.name, found.fingerprint, found.bits)


def ask(other: Other, ids: Sequence[int], vocab_size: int, emit: Emit = ignore) -> Answers | LevelResult:
    """The answers of ``other`` to the first window of ``ids``; where they cannot be had, the row that says why."""
    try:
        answers = other.answer(ids[:WINDOW], emit)
    except (OutsideError, BootError) as error:
        return skip_against(error.message, error.hint)
    highest = int(answers.fingerprint.top_ids.max())
    if highest >= vocab_size:
        return skip_against(f"{answers.name}: says the piece {highest}, and these weights know {vocab_size}")
    return answers


def skip_against(reason: str, hint: str = "") -> LevelResult:
    """The row of a comparison that was asked for and could not be made: that itself is a finding."""
    finding = Finding(AGAINST, "", f"{reason}; {hint}" if hint else reason)
    return LevelResult(AGAINST, Outcome.UNKNOWN, (finding,), reason)


def agree(
    answers: Answers,
    ours: Fingerprint,
    at_theirs: Array,
    kind: str,
    bits: float | None,
    size: int,
    *,
    exact: bool = True,
) -> Agreement:
    """Hold ours, of weights of ``kind``, against ``answers``.

    ``at_theirs`` [T, K] are our logits of its likeliest pieces, ``bits`` our cost of the same ids, ``size`` their bytes
    (0 if not known). ``exact`` is False where ours was computed in less than 32 bits.
    """
    theirs = answers.fingerprint
    allowance = _allow(kind, theirs.kind)
    differ = np.flatnonzero(theirs.top_ids[:, 0] != ours.top_ids[: len(theirs.ids), 0])
    return Agreement(
        other=answers.name,
        kind=theirs.kind,
        tokens=len(theirs.ids),
        bits_per_byte=_per_byte(bits, size),
        other_bits_per_byte=_per_byte(answers.bits, size),
        first_difference=int(differ[0]) if len(differ) else None,
        comparison=measure_shared(theirs, ours, at_theirs, allowance if exact else looser(allowance, ROUNDED)),
    )


def judge_agreement(agreement: Agreement, *, proven: bool = False) -> LevelResult:
    """Good where the two differ by no more than their formats explain. ``proven``: ours are as their release has them.

    Then it is the other that strays, and the finding says so.
    """
    found = agreement.comparison
    findings = tuple(find_strays(found, than=agreement.other))
    if proven:
        findings = tuple(replace(finding, detail=f"{finding.detail}; {PROVEN}") for finding in findings)
    remark = f"{agreement.other}: KL {found.divergence:.2g}, {found.agreement:.1%} of the likeliest pieces are the same"
    return LevelResult(AGAINST, Outcome.BAD if findings else Outcome.GOOD, findings, remark)


def _allow(one: str, other: str) -> Allowance:
    """How far weights of two formats may be from each other; of a server's it is not known how coarse they are."""
    if not other:
        return looser(ALLOWANCES.get(one, FOUR_BIT), FOUR_BIT)
    if one == other and one in RUNNABLE:
        return EXACT
    return looser(*(ALLOWANCES.get(kind, FOUR_BIT) for kind in (one, other)))


def _per_byte(bits: float | None, size: int) -> float | None:
    return bits / size if bits is not None and size and math.isfinite(bits) else None
