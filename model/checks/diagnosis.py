"""Find out what is wrong with a model that runs badly: undo known mistakes one by one, until the model works.

Each cure is tried on a view of the weights; nothing is written. A cure is named only if the model then does

- what the reference answers, if there is one: the fingerprint of the release, or another model;
- else what the known score says;
- where neither is known, clearly better than without it, and better than with any other cure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from magnetar.convert.layout.architecture import Architecture
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.model.architecture.routing import Strategy
from magnetar.model.architecture.tokenizer import Tokenizer
from magnetar.model.checks.cures import Cure, Diagnosis, Remedy, list_remedies
from magnetar.model.checks.forward import ExpectedScore
from magnetar.model.checks.golden import Reference, compare_overlap, find_deviations
from magnetar.model.run.altered_weights import AlteredWeights, HeldWeights
from magnetar.model.run.measure_run import RunPlan, choose_tokens, measure_run
from magnetar.model.run.weights import Weights

MAX_TRIAL_TOKENS = 512
"""Tokens of the text that each cure is tried on."""

MAX_SCORE_RATIO = 0.9
"""A cure must bring the score below this share of what it was, to be named without a reference and a known score."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A model that is not healthy, and what is known of it when it is."""

    weights: Weights
    architecture: Architecture
    kind: str
    """The dtype or block format of the weights."""
    layout: str
    tokenizer: Tokenizer
    ids: Sequence[int]
    """The tokens of the text that the expected score is of."""
    expected: ExpectedScore
    reference: Reference | None
    """What the model should answer; None where that is not known."""
    advice: str = ""
    """What to do if the weights were converted badly. Default: the command to convert them again."""
    routing: str = "trained"
    """The strategy that the model is run with."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model does with one cure. ``restored`` says whether it then answers as the reference does."""

    bits_per_byte: float
    restored: bool


def diagnose(patient: Patient, emit: Emit = ignore) -> Diagnosis:
    """Try the known cures, the commonest first. The weights are held in memory as they are stored."""
    held = HeldWeights(patient.weights)
    suspect = None if patient.reference is None else patient.reference.first_diverging
    remedies = list_remedies(
        patient.architecture, list(held.specs), patient.layout, suspect, patient.advice, patient.routing
    )
    before = _try(held, patient, Remedy("", "", patient.architecture, routing=patient.routing))
    tried: list[str] = []
    best: tuple[Trial, Remedy] | None = None
    emit(Began(Step.DIAGNOSIS, len(remedies), "layers"))
    for remedy in remedies:
        tried.append(remedy.name)
        trial = _try(held, patient, remedy)
        emit(Moved(Step.DIAGNOSIS, 1))
        if trial is not None and (best is None or trial.restored or trial.bits_per_byte < best[0].bits_per_byte):
            best = trial, remedy
        if trial is not None and trial.restored:
            break
    emit(Ended(Step.DIAGNOSIS))
    return _conclude(held, patient, before, best, tuple(tried))


def _conclude(
    held: Weights, patient: Patient, before: Trial | None, best: tuple[Trial, Remedy] | None, tried: tuple[str, ...]
) -> Diagnosis:
    """Name the best cure as the cure, or as the one that comes nearest, or not at all."""
    if best is None:
        return Diagnosis(None, tried)
    trial, remedy = best
    cure = Cure(remedy.name, remedy.advice, trial.bits_per_byte, None if before is None else before.bits_per_byte)
    if trial.restored or (patient.reference is None and _is_convincing(trial, before, held, patient, remedy)):
        return Diagnosis(cure, tried)
    if before is not None and trial.bits_per_byte >= MAX_SCORE_RATIO * before.bits_per_byte:
        return Diagnosis(None, tried)
    return Diagnosis(None, tried, nearest=cure)


def _try(weights: Weights, patient: Patient, remedy: Remedy) -> Trial | None:
    """Run the model with one cure; None where its numbers are not finite."""
    reference = patient.reference
    golden = None if reference is None else reference.fingerprint
    ids = patient.ids[:MAX_TRIAL_TOKENS] if golden is None else golden.ids.tolist()
    size = patient.tokenizer.count_bytes(ids)
    plan = RunPlan(ids, size, golden, strategy=Strategy(remedy.routing), decoded=1, ahead=0)
    run = measure_run(AlteredWeights(weights, remedy.change), remedy.architecture, patient.kind, plan)
    if run.bits is None:
        return None
    restored = False
    if reference is not None and run.fingerprint is not None and run.logits_at_golden is not None:
        comparison = compare_overlap(reference.fingerprint, run.fingerprint, run.logits_at_golden, reference.allowance)
        restored = not any(find_deviations(comparison))
    return Trial(run.bits / size, restored)


def _is_convincing(trial: Trial, before: Trial | None, weights: Weights, patient: Patient, remedy: Remedy) -> bool:
    """Whether a cure is good enough to be named without a reference: by the known score, else by how much it helps."""
    if patient.expected.bits_per_byte is None:
        return before is None or trial.bits_per_byte < MAX_SCORE_RATIO * before.bits_per_byte
    ids = choose_tokens(patient.ids, patient.architecture)
    plan = RunPlan(ids, patient.tokenizer.count_bytes(ids), strategy=Strategy(remedy.routing), decoded=1)
    run = measure_run(AlteredWeights(weights, remedy.change), remedy.architecture, patient.kind, plan)
    return run.bits_per_byte is not None and patient.expected.admits(run.bits_per_byte)
