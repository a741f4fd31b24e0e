"""Verdicts from facts that nobody had to measure: judges read nothing and run nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.findings import Finding, Outcome
from magnetar.model.boot.facts import NOT_RUN, BootFacts, TextFacts
from magnetar.model.boot.judge import BootExpectations, judge
from magnetar.model.bundled import bundled_golden
from magnetar.model.checks.forward import ExpectedScore
from magnetar.model.checks.levels import Level
from magnetar.model.checks.structure import MAX_GAP_BYTES, HeaderFacts
from magnetar.model.compare.comparison import Answers, NoAnswer
from magnetar.model.run.fingerprint import read_fingerprint
from magnetar.model.run.run_facts import RunFacts
from magnetar.model.training.train import BUNDLED

GOLDEN = read_fingerprint(bundled_golden())
RUN = RunFacts(
    ids=tuple(GOLDEN.ids.tolist()),
    text_bytes=1500,
    routing="trained",
    exact=True,
    seconds=1.0,
    bits=2100.0,
    expert_load=((0.5, 0.5),) * 4,
    first_window_bits=np.full(512, 2100 / 512),
    fingerprint=GOLDEN,
    logits_at_golden=GOLDEN.top_logits,
    logits_at_other=GOLDEN.top_logits,
)
OBSTACLE = Finding("memory", "", "running takes too much")


def headers(kind: str = "BF16", gap: int = 0) -> HeaderFacts:
    """Two tensors in one file, ``gap`` bytes apart."""
    stored = (TensorSpec("a", kind, (8,), 0, 0, 16), TensorSpec("b", kind, (8,), 0, 16 + gap, 16))
    return HeaderFacts(
        architecture=BUNDLED,
        layout="mistral",
        layout_reason="so says the test",
        kind=kind,
        files=("weights",),
        file_sizes=(32 + gap,),
        specs={spec.name: spec for spec in stored},
        stored=stored,
        stored_names={"a": "a", "b": "b"},
    )


def ran(*, kind: str = "BF16", other: Answers | NoAnswer | None = None, **changes: Any) -> BootFacts:
    """The facts of a run that went well, but for ``changes``."""
    text = TextFacts(replace(RUN, **changes), text_tokens=512, answered_bytes=1500)
    return BootFacts(headers(kind), text, other)


def outcomes(facts: BootFacts, expected: BootExpectations, *asked: Level) -> list[tuple[str, Outcome]]:
    return [(level.name, level.outcome) for level in judge(facts, expected, asked or tuple(Level)).levels]


@pytest.mark.parametrize(
    ("score", "outcome"), [(1.40, "good"), (1.41, "good"), (1.43, "bad"), (1.37, "bad"), (None, "good")]
)
def test_a_score_is_held_against_the_expected_one_within_its_tolerance(score: float | None, outcome: str) -> None:
    expected = BootExpectations(ExpectedScore(score, tolerance=0.01))
    assert outcomes(ran(), expected, Level.FORWARD) == [("forward", outcome)]


def test_a_coarse_format_may_cost_more_of_the_score() -> None:
    expected = BootExpectations(ExpectedScore(1.36, tolerance=0.01))
    assert outcomes(ran(), expected, Level.FORWARD) == [("forward", "bad")]
    assert outcomes(ran(kind="Q4_0"), expected, Level.FORWARD) == [("forward", "good")]


def test_what_guesses_is_bad_where_no_score_is_known() -> None:
    (level,) = judge(ran(bits=512 * 10.0), BootExpectations(), [Level.FORWARD]).levels
    assert [finding.kind for finding in level.findings] == ["guessing"]


def test_a_run_is_held_against_the_fingerprint_and_the_first_layer_that_strays_is_named() -> None:
    expected = BootExpectations(golden=GOLDEN)
    assert judge(ran(), expected, [Level.GOLDEN]).findings == ()
    samples = GOLDEN.residual_samples.copy()
    samples[2:] *= 2
    verdicts = judge(ran(fingerprint=replace(GOLDEN, residual_samples=samples)), expected, [Level.GOLDEN])
    assert [(finding.kind, finding.subject) for finding in verdicts.findings] == [("layer", "layers.2")]
    assert verdicts.golden is not None
    assert verdicts.golden.first_diverging == 2


def test_another_routing_is_held_against_neither_score_nor_fingerprint() -> None:
    expected = BootExpectations(ExpectedScore(9.0), GOLDEN)
    facts = ran(routing="random", logits_at_golden=None)
    assert outcomes(facts, expected, Level.FORWARD, Level.GOLDEN) == [("forward", "good"), ("golden", "unknown")]


def test_an_obstacle_skips_what_needs_a_run_and_is_the_reason() -> None:
    facts = BootFacts(headers(), OBSTACLE, NoAnswer(NOT_RUN))
    assert outcomes(facts, BootExpectations(golden=GOLDEN)) == [
        ("structure", "good"),
        ("content", "good"),
        ("forward", "unknown"),
        ("golden", "unknown"),
        ("against", "unknown"),
    ]
    assert [finding.kind for finding in judge(facts, BootExpectations(), tuple(Level)).findings] == [
        "memory",
        "against",
    ]


def test_only_what_was_asked_for_is_judged() -> None:
    assert outcomes(ran(), BootExpectations(), Level.CONTENT) == [("content", "good")]
    assert judge(BootFacts(headers(gap=MAX_GAP_BYTES + 1)), BootExpectations(), [Level.CONTENT]).findings == ()


def test_bytes_of_no_tensor_are_found_in_the_headers_alone() -> None:
    verdicts = judge(BootFacts(headers(gap=MAX_GAP_BYTES + 1)), BootExpectations(), [Level.STRUCTURE])
    assert [(finding.kind, finding.subject) for finding in verdicts.findings] == [("unclaimed", "b")]


def test_another_model_strays_where_these_weights_are_as_their_release_has_them() -> None:
    other = Answers("other", replace(GOLDEN, top_logits=GOLDEN.top_logits[::-1].copy()), bits=2100.0)
    known = judge(ran(other=other), BootExpectations(golden=GOLDEN), tuple(Level))
    assert known.strays_from_other
    assert known.findings[-1].detail.endswith("boot the other to see what is wrong with it")
    unknown = judge(ran(other=other), BootExpectations(), tuple(Level))
    assert "boot the other" not in unknown.findings[-1].detail
    assert unknown.agreement is not None
    assert unknown.agreement.excess == pytest.approx(0)
