"""One checkpoint on its way through the levels. torch is imported only where the model is run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.errors import BootError, UsageError
from magnetar.events import Emit
from magnetar.findings import Finding, Outcome
from magnetar.model.architecture.tokenizer import Tokenizer, open_tokenizer
from magnetar.model.boot.distributed_run import Together
from magnetar.model.boot.report import BootReport
from magnetar.model.boot.run_record import take_down
from magnetar.model.checks.content import Survey, check_content, digest_weights
from magnetar.model.checks.cures import advise_remaking
from magnetar.model.checks.forward import (
    TELLING_TOKENS,
    Expectation,
    Measured,
    estimate_memory,
    find_faults,
    room_ahead,
)
from magnetar.model.checks.golden import ROUNDED, Example, allowance_for, find_strays, looser, measure, score_tolerance
from magnetar.model.checks.levels import Level, LevelResult, judge, skip
from magnetar.model.checks.structure import check_structure
from magnetar.model.compare.comparison import Answers, Other, agree, ask, judge_agreement, skip_against
from magnetar.model.machine.machine import LARGEST_HELD, Machine
from magnetar.model.run.fingerprint import Fingerprint, fits, is_like
from magnetar.model.run.weights import RUNNABLE, Weights, name_stored, say_unrunnable, stored_kind, view_to_run

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import Examination

RUNNING = frozenset({Level.FORWARD, Level.GOLDEN})
"""The levels that need torch."""

PROMPT = 32
"""Tokens of the text that the sample goes on from."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a checkpoint; the arguments of ``boot``."""

    levels: frozenset[Level]
    text: str
    expectation: Expectation
    golden: Fingerprint | None
    greedy_tokens: int
    routing: str
    machine: Machine
    diagnose: bool
    other: Other | None = None

    @property
    def trained(self) -> bool:
        """Whether the model is run as it was trained, so that known scores hold."""
        return self.routing == "trained"


class Session:
    """One checkpoint on its way through the levels."""

    def __init__(self, source: CheckpointSource, request: Request, emit: Emit) -> None:
        self._source, self._request, self._emit = source, request, emit
        self._weights: Weights = view_to_run(source)
        self._architecture = source.architecture
        self._together = Together(self._weights, self._architecture, request.machine)
        golden = request.golden if request.trained else None
        self._golden = golden if golden is not None and fits(golden, self._architecture) else None
        tolerance = score_tolerance(stored_kind(source), request.expectation.tolerance)
        self._expectation = replace(request.expectation, tolerance=tolerance)
        self._survey = Survey()
        self._results: dict[Level, LevelResult] = {}
        self._against: LevelResult | None = None
        self._tokenizer: Tokenizer | None = None
        self._text_ids: Sequence[int] = ()
        self._ids: Sequence[int] = ()
        self._report = BootReport(
            healthy=False,
            reasons=(),
            bits_per_byte=None,
            expected=request.expectation.bits_per_byte,
            tokens=0,
            text_bytes=0,
            decode_difference=None,
            expert_load=(),
            routing_entropy=None,
            sample=None,
            layout=source.layout,
            total_parameters=self._architecture.total_parameters,
            active_parameters=self._architecture.active_parameters,
            seconds=0.0,
            tokens_per_second=0.0,
            assumptions=(),
            routing=request.routing,
            files=source.files,
            kind=stored_kind(source),
        )

    def report(self) -> BootReport:
        """Run the levels that were asked for and can be run, and gather what they found."""
        levels = self._request.levels
        if Level.STRUCTURE in levels:
            self._results[Level.STRUCTURE] = check_structure(self._source, self._weights)
        if levels & RUNNING or self._request.other is not None:
            self._run()
        if Level.CONTENT in levels:
            self._together.survey(self._survey, self._emit)
            self._results[Level.CONTENT] = check_content(self._survey, self._architecture, name_stored(self._source))
        results = tuple(self._results[level] for level in Level if level in self._results)
        results += (self._against,) if self._against else ()
        reasons = tuple(finding.describe() for result in results for finding in result.findings)
        assumptions = tuple(self._state_assumptions())
        weights = digest_weights(self._survey, self._weights.specs)
        return replace(
            self._report,
            healthy=not reasons,
            reasons=reasons,
            levels=results,
            assumptions=assumptions,
            weights=weights,
        )

    def _run(self) -> None:
        """The levels that run the model, in one pass over its tensors."""
        obstacle = self._together.agree(self._find_obstacle(), self._ids)
        if obstacle is not None:
            self._results[Level.FORWARD] = skip(Level.FORWARD, obstacle.describe(), [obstacle])
            self._results[Level.GOLDEN] = skip(Level.GOLDEN, "the model was not run")
            self._against = None if self._request.other is None else skip_against("the model was not run")
            self._forget_unwanted()
            return
        from magnetar.model.architecture.routing import Strategy
        from magnetar.model.run.measure_run import Task, count_decoded

        request, architecture = self._request, self._architecture
        answers = self._ask_other()
        task = Task(
            self._ids,
            self._golden,
            None if answers is None else answers.fingerprint.top_ids,
            Strategy(request.routing),
            count_decoded(architecture),
            room_ahead(self._weights, architecture, len(self._ids), request.machine),
            request.machine.arithmetic(),
        )
        kind = stored_kind(self._source)
        seen = self._survey if Level.CONTENT in request.levels else None
        found = self._together.examine(kind, task, seen, self._emit)
        sample = self._write_sample(found)
        if not self._together.first:
            return
        self._report = take_down(self._report, found, self._ids, self._tokenizer, sample)
        self._judge_forward(found)
        self._judge_golden(found, kind)
        if answers is not None:
            self._judge_against(found, answers, kind)
        self._forget_unwanted()
        if self._request.diagnose and request.trained:
            self._diagnose(answers)

    def _ask_other(self) -> Answers | None:
        """What the other says to the window that comes first; None without one, or where it cannot be had."""
        if self._request.other is None or not self._together.first:
            return None
        window = self._ids if self._golden is None else self._golden.ids.tolist()
        answers = ask(self._request.other, window, self._architecture.vocab_size, self._emit)
        if isinstance(answers, Answers):
            return answers
        self._against = answers
        return None

    def _forget_unwanted(self) -> None:
        for level in RUNNING - self._request.levels:
            self._results.pop(level, None)

    def _find_obstacle(self) -> Finding | None:
        """Why the model cannot be run at all; None if it can."""
        odd = next((spec for spec in self._weights.specs.values() if spec.dtype not in RUNNABLE), None)
        if odd is not None:
            return Finding("dtype", odd.name, say_unrunnable(odd.dtype))
        try:
            self._tokenizer = open_tokenizer(self._source)
        except BootError as error:
            if self._golden is None:
                return Finding("tokenizer", "", f"{error.message}; {error.hint}")
        self._choose_ids()
        needed = estimate_memory(self._weights, self._architecture, len(self._ids), ahead=False)
        if not self._request.machine.admits(needed):
            limit = self._request.machine.say_limit()
            return Finding("memory", "", f"running takes about {needed:,} bytes, and {limit}")
        return None

    def _choose_ids(self) -> None:
        from magnetar.model.run.measure_run import choose_tokens

        golden = self._golden
        if self._tokenizer is not None:
            self._text_ids = self._tokenizer.encode(self._request.text)
        elif golden is not None:
            self._text_ids = golden.ids.tolist()
        if not self._text_ids:
            raise UsageError("the text to score is empty", hint="give a text of a few hundred words")
        self._ids = choose_tokens(self._text_ids, self._architecture)

    def _write_sample(self, found: "Examination") -> str | None:
        if self._tokenizer is None or not self._request.trained:
            return None
        if not self._together.tell_any(found.not_finite is None):
            return None
        prompt = self._ids[:PROMPT]
        written = self._together.write_on(prompt, self._request.greedy_tokens)
        return None if written is None else self._tokenizer.decode([*prompt, *written])

    def _judge_forward(self, found: "Examination") -> None:
        report = self._report
        measured = Measured(
            report.bits_per_byte,
            report.tokens,
            report.text_bytes,
            report.decode_difference,
            report.expert_load,
            found.not_finite,
            self._request.machine.exact,
        )
        expectation = self._expectation if self._request.trained else Expectation()
        remark = f"{report.tokens:,} tokens at {report.tokens_per_second:,.0f} a second"
        self._results[Level.FORWARD] = judge(
            Level.FORWARD, find_faults(measured, self._architecture, expectation), remark
        )

    def _judge_golden(self, found: "Examination", kind: str) -> None:
        golden, reason = self._golden, ""
        if self._request.golden is None:
            reason = "the release has no fingerprint"
        elif not self._request.trained:
            reason = "a fingerprint is of the trained routing"
        elif found.fingerprint is None:
            reason = "its logits are not finite"
        elif golden is None or not is_like(golden, found.fingerprint):
            reason = "the fingerprint is of another shape of model"
        if golden is None or found.fingerprint is None or found.at_golden is None or reason:
            self._results[Level.GOLDEN] = skip(Level.GOLDEN, reason)
            return
        allowance = allowance_for(kind, golden)
        if not self._request.machine.exact:
            allowance = looser(allowance, ROUNDED)
        comparison = measure(golden, found.fingerprint, found.at_golden, allowance)
        self._report = replace(self._report, golden=comparison)
        remark = f"KL {comparison.divergence:.2g}, {comparison.agreement:.1%} of the likeliest pieces are the same"
        self._results[Level.GOLDEN] = judge(Level.GOLDEN, find_strays(comparison), remark)

    def _judge_against(self, found: "Examination", answers: Answers, kind: str) -> None:
        if found.fingerprint is None or found.at_other is None:
            self._against = skip_against("our own logits are not finite")
            return
        ids = answers.fingerprint.ids.tolist()
        size = self._tokenizer.count_bytes(ids) if self._tokenizer else 0
        bits, exact = found.cost_of_first(len(ids)), self._request.machine.exact
        agreement = agree(answers, found.fingerprint, found.at_other, kind, bits, size, exact=exact)
        self._report = replace(self._report, agreement=agreement)
        proven = self._results[Level.GOLDEN].outcome is Outcome.GOOD
        self._against = judge_agreement(agreement, proven=proven)

    def _diagnose(self, answers: Answers | None) -> None:
        """Look for what is wrong, where the model ran, and not well, and is small enough to be run many times."""
        from magnetar.model.checks.diagnosis import Patient, diagnose

        bad = any(result.findings for result in self._results.values())
        astray = self._astray and self._report.golden is None
        if not (bad or astray) or self._tokenizer is None or self._report.bits_per_byte is None:
            return  # what gives no numbers is not mended by moving them
        held = sum(spec.nbytes for spec in self._weights.specs.values())
        working = estimate_memory(self._weights, self._architecture, len(self._ids))
        if held > min(LARGEST_HELD, self._request.machine.room_for_weights(working)):
            return
        patient = Patient(
            self._weights,
            self._architecture,
            stored_kind(self._source),
            self._source.layout,
            self._tokenizer,
            self._ids,
            self._expectation,
            self._find_example(answers),
            advise_remaking(self._source),
        )
        self._report = replace(self._report, diagnosis=diagnose(patient, self._emit))

    @property
    def _astray(self) -> bool:
        """Whether the other was compared with, and says something else."""
        return self._against is not None and self._against.outcome is Outcome.BAD

    def _find_example(self, answers: Answers | None) -> Example | None:
        """What these weights should say: as the release has it; else as another says from which they stray."""
        golden, agreement = self._report.golden, self._report.agreement
        if golden is not None and self._golden is not None:
            allowance = allowance_for(stored_kind(self._source), self._golden)
            return Example(self._golden, allowance, golden.first_diverging)
        if answers is None or agreement is None or not self._astray:
            return None
        comparison = agreement.comparison
        return Example(answers.fingerprint, comparison.allowance, comparison.first_diverging)

    def _state_assumptions(self) -> Iterator[str]:
        report, architecture = self._report, self._architecture
        yield f"layout {self._source.layout}: {self._source.reason}"
        yield f"rope theta {architecture.rope_theta:g}, as the configuration says or leaves open"
        if not report.tokens:
            return
        if report.tokens < len(self._text_ids):
            yield f"scored on the first {report.tokens} of {len(self._text_ids)} tokens, for a model of this size"
        if report.expected is None:
            yield "no score is known for this model and text, so it was only held against guessing"
        if architecture.n_experts and report.tokens < TELLING_TOKENS:
            yield f"{report.tokens} tokens are too few to tell whether every expert is chosen"
        if report.sample is None and report.bits_per_byte is not None and self._request.trained:
            yield "no sample, because the whole model is too large to be held in memory"
