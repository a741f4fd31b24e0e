"""From the facts of a boot to the verdicts on it: pure functions, which read nothing and run nothing. No torch here."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from magnetar.findings import Finding, Outcome
from magnetar.model.boot.facts import NOT_RUN, BootFacts, TextFacts
from magnetar.model.checks.allowances import score_tolerance
from magnetar.model.checks.content import judge_content
from magnetar.model.checks.forward import UNKNOWN_SCORE, ExpectedScore, judge_forward
from magnetar.model.checks.golden import FingerprintComparison, judge_golden
from magnetar.model.checks.levels import Level, LevelResult, skip
from magnetar.model.checks.structure import judge_structure
from magnetar.model.compare.comparison import Agreement, NoAnswer, compare_answers, judge_agreement
from magnetar.model.run.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True, eq=False)
class BootExpectations:
    """What is known of a release that works: its score on the text, and its fingerprint (None if there is none)."""

    score: ExpectedScore = UNKNOWN_SCORE
    golden: Fingerprint | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One verdict for each level that was asked for, in order, and the comparisons that they rest on.

    Where another model was asked, the last verdict is on the agreement with it.
    """

    levels: tuple[LevelResult, ...]
    golden: FingerprintComparison | None = None
    agreement: Agreement | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, level by level."""
        return tuple(finding for level in self.levels for finding in level.findings)

    @property
    def strays_from_other(self) -> bool:
        """Whether the comparison with the other model was made, and is bad."""
        return self.agreement is not None and self.levels[-1].outcome is Outcome.BAD


def judge(facts: BootFacts, expected: BootExpectations, asked: Collection[Level]) -> Verdicts:
    """The verdicts on the levels that were ``asked`` for, and on the agreement with the other model, if there is one.

    ::

        structure   the headers                 no expectation
        content     the numbers of the tensors  no expectation
        forward     the run                     the expected score, where the routing is the trained one
        golden      the run                     the fingerprint of the release
        against     the run                     the answers of the other model
    """
    golden, comparison = _judge_golden(facts, expected)
    results: dict[Level, LevelResult] = {Level.GOLDEN: golden}
    if Level.STRUCTURE in asked:
        results[Level.STRUCTURE] = judge_structure(facts.headers)
    if Level.CONTENT in asked:
        results[Level.CONTENT] = judge_content(facts.tensors, facts.headers.architecture, facts.headers.stored_names)
    if Level.FORWARD in asked:
        results[Level.FORWARD] = _judge_forward(facts, expected)
    levels = [results[level] for level in Level if level in asked]
    agreement = _compare_with_other(facts)
    if agreement is not None:
        levels.append(judge_agreement(agreement, proven=golden.outcome is Outcome.GOOD))
    return Verdicts(tuple(levels), comparison, agreement if isinstance(agreement, Agreement) else None)


def tolerate_format(score: ExpectedScore, kind: str) -> ExpectedScore:
    """The expected score with the tolerance that the storage format ``kind`` needs, if that is more."""
    return replace(score, tolerance=score_tolerance(kind, score.tolerance))


def _judge_forward(facts: BootFacts, expected: BootExpectations) -> LevelResult:
    if not isinstance(facts.text, TextFacts):
        return skip(Level.FORWARD, *_explain_not_run(facts.text))
    run, headers = facts.text.run, facts.headers
    score = tolerate_format(expected.score, headers.kind) if run.routing == "trained" else UNKNOWN_SCORE
    return judge_forward(run, headers.architecture, score)


def _judge_golden(facts: BootFacts, expected: BootExpectations) -> tuple[LevelResult, FingerprintComparison | None]:
    if facts.run is None:
        return skip(Level.GOLDEN, NOT_RUN), None
    return judge_golden(facts.run, expected.golden, facts.headers.kind)


def _explain_not_run(obstacle: Finding | None) -> tuple[str, tuple[Finding, ...]]:
    return (NOT_RUN, ()) if obstacle is None else (obstacle.describe(), (obstacle,))


def _compare_with_other(facts: BootFacts) -> Agreement | NoAnswer | None:
    """How far the run is from the answers of the other model; None where none was asked."""
    if facts.other is None or isinstance(facts.other, NoAnswer):
        return facts.other
    if not isinstance(facts.text, TextFacts):
        return NoAnswer(NOT_RUN)
    return compare_answers(facts.other, facts.text.run, facts.headers.kind, facts.text.answered_bytes)
