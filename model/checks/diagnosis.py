"""What is wrong with a model that runs badly: known cures are tried on a view of its weights until one helps.

A cure is named only if the model then does what its release does: by the fingerprint, where there is one, or as another
says that it is held against; else by the score that is known; where nothing is known, by a score that is clearly better
than that of any other cure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from magnetar.convert.layout.architecture import Architecture
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.model.architecture.routing import Strategy
from magnetar.model.architecture.tokenizer import Tokenizer
from magnetar.model.checks.cures import Cure, Diagnosis, Remedy, list_remedies
from magnetar.model.checks.forward import Expectation
from magnetar.model.checks.golden import Example, find_strays, measure_shared
from magnetar.model.run.altered_weights import Altered, Held
from magnetar.model.run.measure_run import Task, choose_tokens, examine
from magnetar.model.run.weights import Weights

TRIED_ON = 512
"""Tokens of the text that each cure is tried on."""

TELLING = 0.9
"""A cure for a model of which nothing is known must bring the score below this share of it."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A model that is not healthy, and what is known of it when it is.

    ``example`` is what it should say, ``again`` what to do if it was converted badly, ``routing`` how it is run.
    """

    weights: Weights
    architecture: Architecture
    kind: str
    layout: str
    tokenizer: Tokenizer
    ids: Sequence[int]
    expectation: Expectation
    example: Example | None
    again: str = ""
    routing: str = "trained"


def diagnose(patient: Patient, emit: Emit = ignore) -> Diagnosis:
    """Try the known cures, the commonest first. The weights are held in memory as they are stored."""
    held = Held(patient.weights)
    a, names = patient.architecture, list(held.specs)
    suspect = None if patient.example is None else patient.example.first_diverging
    remedies = list(list_remedies(a, names, patient.layout, suspect, patient.again, patient.routing))
    before = _try(held, patient, Remedy("", "", a, routing=patient.routing))
    tried: list[str] = []
    best: tuple[float, Remedy] | None = None
    emit(Began(Step.DIAGNOSIS, len(remedies), "layers"))
    for remedy in remedies:
        tried.append(remedy.name)
        trial = _try(held, patient, remedy)
        emit(Moved(Step.DIAGNOSIS, 1))
        if trial is None:
            continue
        if trial.restored:
            emit(Ended(Step.DIAGNOSIS))
            return _conclude(remedy, trial.bits_per_byte, before, tried)
        if best is None or trial.bits_per_byte < best[0]:
            best = trial.bits_per_byte, remedy
    emit(Ended(Step.DIAGNOSIS))
    if best is not None and patient.example is None and _helps(best[0], before, held, patient, best[1]):
        return _conclude(best[1], best[0], before, tried)
    if best is None or (before is not None and best[0] >= TELLING * before.bits_per_byte):
        return Diagnosis(None, tuple(tried))
    return Diagnosis(None, tuple(tried), _name_cure(best[1], best[0], before))


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model does with one cure. ``restored``: as the example says."""

    bits_per_byte: float
    restored: bool


def _try(weights: Weights, patient: Patient, remedy: Remedy) -> Trial | None:
    """None where the model comes to no number."""
    altered = Altered(weights, remedy.change)
    example = patient.example
    golden = None if example is None else example.fingerprint
    ids = patient.ids[:TRIED_ON] if golden is None else golden.ids.tolist()
    task = Task(ids, golden, strategy=Strategy(remedy.routing), decoded=1, ahead=0)
    found = examine(altered, remedy.architecture, patient.kind, task)
    if found.bits is None:
        return None
    restored = False
    if example is not None and found.fingerprint is not None and found.at_golden is not None:
        comparison = measure_shared(example.fingerprint, found.fingerprint, found.at_golden, example.allowance)
        restored = not any(find_strays(comparison))
    return Trial(found.bits / patient.tokenizer.count_bytes(ids), restored)


def _helps(score: float, before: Trial | None, weights: Weights, patient: Patient, remedy: Remedy) -> bool:
    """Whether the best of all cures is good enough to be named."""
    if patient.expectation.bits_per_byte is None:
        return before is None or score < TELLING * before.bits_per_byte
    ids = choose_tokens(patient.ids, patient.architecture)
    task = Task(ids, strategy=Strategy(remedy.routing), decoded=1)
    found = examine(Altered(weights, remedy.change), remedy.architecture, patient.kind, task)
    return found.bits is not None and patient.expectation.admits(found.bits / patient.tokenizer.count_bytes(ids))


def _conclude(remedy: Remedy, score: float, before: Trial | None, tried: Sequence[str]) -> Diagnosis:
    return Diagnosis(_name_cure(remedy, score, before), tuple(tried))


def _name_cure(remedy: Remedy, score: float, before: Trial | None) -> Cure:
    return Cure(remedy.name, remedy.advice, score, None if before is None else before.bits_per_byte)
