"""Decide whether to look for a known mistake, and with which reference. torch is imported only where the model runs."""

from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.events import Emit
from magnetar.model.architecture.tokenizer import open_tokenizer
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.boot.facts import BootFacts
from magnetar.model.boot.judge import BootExpectations, Verdicts, tolerate_format
from magnetar.model.checks.allowances import allowance_for
from magnetar.model.checks.cures import Diagnosis, advise
from magnetar.model.checks.golden import Reference
from magnetar.model.checks.levels import Level
from magnetar.model.compare.comparison import Answers
from magnetar.model.machine.machine import MAX_HELD_BYTES
from magnetar.model.run.estimate_memory import estimate_memory
from magnetar.model.run.weights import Weights


def find_cure(
    source: CheckpointSource,
    weights: Weights,
    facts: BootFacts,
    expected: BootExpectations,
    verdicts: Verdicts,
    request: BootRequest,
    emit: Emit,
) -> Diagnosis | None:
    """Try the known cures on a model that runs badly. None for a model that needs none, or cannot be tried.

    A model can be tried if its numbers are finite, it has a tokenizer, and its weights fit in memory, to be run many
    times.
    """
    run = facts.run
    if run is None or run.bits_per_byte is None or not _needs_cure(verdicts):
        return None
    held = sum(spec.nbytes for spec in weights.specs.values())
    working = estimate_memory(weights, facts.headers.architecture, run.tokens)
    if held > min(MAX_HELD_BYTES, request.machine.room_for_weights(working)):
        return None
    from magnetar.model.checks.diagnosis import Patient, diagnose

    patient = Patient(
        weights=weights,
        architecture=facts.headers.architecture,
        kind=facts.headers.kind,
        layout=facts.headers.layout,
        tokenizer=open_tokenizer(source),
        ids=run.ids,
        expected=tolerate_format(expected.score, facts.headers.kind),
        reference=_choose_reference(facts, expected, verdicts),
        advice=advise(source.layout, source.folder.name, request.converted_from),
    )
    return diagnose(patient, emit)


def _needs_cure(verdicts: Verdicts) -> bool:
    """Whether something is wrong that a run shows: not in the numbers alone, nor with the other model alone."""
    shown = {level.value for level in Level if level is not Level.CONTENT}
    if any(level.findings for level in verdicts.levels if level.name in shown):
        return True
    return verdicts.strays_from_other and verdicts.golden is None


def _choose_reference(facts: BootFacts, expected: BootExpectations, verdicts: Verdicts) -> Reference | None:
    """What these weights should answer: as the release does; else as the other model from which they stray."""
    if verdicts.golden is not None and expected.golden is not None:
        allowance = allowance_for(facts.headers.kind, expected.golden)
        return Reference(expected.golden, allowance, verdicts.golden.first_diverging)
    if not isinstance(facts.other, Answers) or verdicts.agreement is None or not verdicts.strays_from_other:
        return None
    comparison = verdicts.agreement.comparison
    return Reference(facts.other.fingerprint, comparison.allowance, comparison.first_diverging)
