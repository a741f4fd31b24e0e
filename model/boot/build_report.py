"""From facts, verdicts and diagnosis to the report of a boot. No torch here."""

from collections.abc import Iterator

from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.facts import BootFacts, TextFacts
from magnetar.model.boot.judge import BootExpectations, Verdicts
from magnetar.model.checks.content import digest_weights
from magnetar.model.checks.cures import Diagnosis
from magnetar.model.checks.forward import MIN_LOAD_TOKENS
from magnetar.model.run.run_facts import routing_entropy


def build_report(
    facts: BootFacts, expected: BootExpectations, verdicts: Verdicts, diagnosis: Diagnosis | None, routing: str
) -> BootReport:
    """The report of one checkpoint. ``routing`` is the strategy that was asked for."""
    headers, text = facts.headers, facts.text if isinstance(facts.text, TextFacts) else None
    run = facts.run
    return BootReport(
        healthy=not verdicts.findings,
        reasons=tuple(finding.describe() for finding in verdicts.findings),
        bits_per_byte=run.bits_per_byte if run else None,
        expected=expected.score.bits_per_byte,
        tokens=run.tokens if run else 0,
        text_bytes=run.text_bytes if run else 0,
        decode_difference=run.decode_difference if run else None,
        expert_load=run.expert_load if run else (),
        routing_entropy=routing_entropy(run.expert_load) if run and run.expert_load else None,
        sample=text.sample if text else None,
        layout=headers.layout,
        total_parameters=headers.architecture.total_parameters,
        active_parameters=headers.architecture.active_parameters,
        tokens_per_second=run.tokens_per_second if run else 0.0,
        assumptions=tuple(_state_assumptions(facts, expected)),
        levels=verdicts.levels,
        early_bits=run.early_bits if run else None,
        late_bits=run.late_bits if run else None,
        residual_rms=run.residual_rms if run else (),
        routed_text=text.routed_text if text else None,
        golden=verdicts.golden,
        agreement=verdicts.agreement,
        diagnosis=diagnosis,
        routing=routing,
        files=headers.files,
        kind=headers.kind,
        weights=digest_weights(facts.tensors, headers.specs),
    )


def _state_assumptions(facts: BootFacts, expected: BootExpectations) -> Iterator[str]:
    """What was taken as given, one line each."""
    headers = facts.headers
    yield f"layout {headers.layout}: {headers.layout_reason}"
    yield f"rope theta {headers.architecture.rope_theta:g}, as the configuration says or leaves open"
    if not isinstance(facts.text, TextFacts):
        return
    run = facts.text.run
    if run.tokens < facts.text.text_tokens:
        yield f"scored on the first {run.tokens} of {facts.text.text_tokens} tokens, for a model of this size"
    if expected.score.bits_per_byte is None:
        yield "no score is known for this model and text, so it was only held against guessing"
    if headers.architecture.n_experts and run.tokens < MIN_LOAD_TOKENS:
        yield f"{run.tokens} tokens are too few to tell whether every expert is chosen"
    if facts.text.sample is None and run.bits_per_byte is not None and run.routing == "trained":
        yield "no sample, because the whole model is too large to be held in memory"
