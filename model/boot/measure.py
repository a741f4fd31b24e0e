"""From an opened checkpoint to the facts of a boot: everything is measured in one pass over its tensors.

::

    read the headers
    if the model is to be run:
        look for an obstacle: a dtype, no tokenizer, too little memory
        choose the tokens, and ask the other model about them
        run the model; measure every tensor that goes by
        let it write a sample
    measure the tensors that did not go by

Nothing is judged here. torch is imported only where the model is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.errors import BootError, UsageError
from magnetar.events import Emit
from magnetar.findings import Finding
from magnetar.model.architecture.tokenizer import Tokenizer, open_tokenizer
from magnetar.model.boot.boot_report import RoutedText
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.boot.distributed_run import DistributedRun
from magnetar.model.boot.facts import NOT_RUN, BootFacts, TextFacts
from magnetar.model.bundled import smoke_text
from magnetar.model.checks.content import Survey
from magnetar.model.checks.levels import Level
from magnetar.model.checks.structure import HeaderFacts, read_headers
from magnetar.model.compare.comparison import Answers, NoAnswer, ask_other
from magnetar.model.run.estimate_memory import choose_read_ahead, estimate_memory
from magnetar.model.run.fingerprint import Fingerprint, fits
from magnetar.model.run.run_facts import RunFacts
from magnetar.model.run.weights import explain_unrunnable, find_unrunnable

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import RunPlan

SAMPLE_PROMPT_TOKENS = 32
"""Tokens at the head of the text that the sample continues."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is measured, and for which request. ``golden`` is the fingerprint that is run too; None if there is none."""

    source: CheckpointSource
    headers: HeaderFacts
    request: BootRequest
    golden: Fingerprint | None
    process: DistributedRun


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """The text as tokens: all of them, and those that are scored. Without a tokenizer they are the fingerprint's."""

    tokenizer: Tokenizer | None
    all_ids: Sequence[int]
    ids: Sequence[int]

    def count_bytes(self, ids: Sequence[int]) -> int:
        """How many bytes of UTF-8 ``ids`` stand for; 0 where that is not known."""
        return self.tokenizer.count_bytes(ids) if self.tokenizer else 0


NO_TEXT = Text(None, (), ())


def measure(
    source: CheckpointSource, request: BootRequest, golden: Fingerprint | None, process: DistributedRun, emit: Emit
) -> BootFacts:
    """Measure what ``request`` asks for. ``golden`` is the fingerprint of the release.

    Every process of a distributed boot calls this. Process 0 has the facts of the whole model, the others their part.

    Raises ``UsageError`` for an empty text, ``CheckpointError`` or ``DiskError`` if a tensor cannot be read, and
    whatever ended another process.
    """
    headers, survey = read_headers(source, process.weights), Survey()
    text: TextFacts | Finding | None = None
    other: Answers | NoAnswer | None = None
    if request.runs_the_model:
        is_usable = golden is not None and request.is_trained_routing and fits(golden, headers.architecture)
        subject = Subject(source, headers, request, golden if is_usable else None, process)
        wanted = survey if Level.CONTENT in request.levels else None
        text, other = _measure_on_text(subject, wanted, emit)
    if Level.CONTENT in request.levels:
        process.survey_rest(survey, emit)
    return BootFacts(headers, text, other, survey.facts)


def _measure_on_text(
    subject: Subject, survey: Survey | None, emit: Emit
) -> tuple[TextFacts | Finding, Answers | NoAnswer | None]:
    """Run the model on the text, or say what stands in the way; and what the other model answers, if there is one."""
    request, process = subject.request, subject.process
    text, obstacle = _prepare_text(subject)
    obstacle = process.agree_to_run(obstacle, text.ids)
    if obstacle is not None:
        return obstacle, None if request.against is None else NoAnswer(NOT_RUN)
    other = _ask_other(subject, text, emit)
    answers = other if isinstance(other, Answers) else None
    run = process.measure_run(subject.headers.kind, _plan_run(subject, text, answers), survey, emit)
    facts = TextFacts(
        run,
        text_tokens=len(text.all_ids),
        answered_bytes=0 if answers is None else text.count_bytes(answers.fingerprint.ids.tolist()),
        sample=_write_sample(run, subject, text),
        routed_text=None if text.tokenizer is None else _spell_routed_text(run, text.tokenizer),
    )
    return facts, other


def _prepare_text(subject: Subject) -> tuple[Text, Finding | None]:
    """The tokens to run, and why the model cannot be run on them; None if it can."""
    unrunnable = find_unrunnable(subject.headers.specs)
    if unrunnable is not None:
        return NO_TEXT, Finding("dtype", unrunnable.name, explain_unrunnable(unrunnable.dtype))
    tokenizer = None
    try:
        tokenizer = open_tokenizer(subject.source)
    except BootError as error:
        if subject.golden is None:
            return NO_TEXT, Finding("tokenizer", "", f"{error.message}; {error.hint}")
    text, machine = _choose_text(subject, tokenizer), subject.request.machine
    needed = estimate_memory(subject.process.weights, subject.headers.architecture, len(text.ids), ahead=False)
    if not machine.admits(needed):
        return text, Finding("memory", "", f"running takes about {needed:,} bytes, and {machine.describe_limit()}")
    return text, None


def _choose_text(subject: Subject, tokenizer: Tokenizer | None) -> Text:
    """The text of the request; without a tokenizer, that of the fingerprint. Raises ``UsageError`` if it is empty."""
    from magnetar.model.run.measure_run import choose_tokens

    ids: Sequence[int] = ()
    if tokenizer is not None:
        asked = subject.request.text
        ids = tokenizer.encode(smoke_text().text if asked is None else asked)
    elif subject.golden is not None:
        ids = subject.golden.ids.tolist()
    if not ids:
        raise UsageError("the text to score is empty", hint="give a text of a few hundred words")
    return Text(tokenizer, ids, choose_tokens(ids, subject.headers.architecture))


def _ask_other(subject: Subject, text: Text, emit: Emit) -> Answers | NoAnswer | None:
    """What the other model answers to the window that is run first. Process 0 asks for all."""
    if subject.request.against is None or not subject.process.first:
        return None
    window = text.ids if subject.golden is None else subject.golden.ids.tolist()
    return ask_other(subject.request.against, window, subject.headers.architecture.vocab_size, emit)


def _plan_run(subject: Subject, text: Text, answers: Answers | None) -> "RunPlan":
    from magnetar.model.architecture.routing import Strategy
    from magnetar.model.run.measure_run import RunPlan, count_decoded

    architecture, machine = subject.headers.architecture, subject.request.machine
    return RunPlan(
        ids=text.ids,
        text_bytes=text.count_bytes(text.ids),
        golden=subject.golden,
        other_ids=None if answers is None else answers.fingerprint.top_ids,
        strategy=Strategy(subject.request.routing),
        decoded=count_decoded(architecture),
        ahead=choose_read_ahead(subject.process.weights, architecture, len(text.ids), machine),
        arithmetic=machine.arithmetic(),
    )


def _write_sample(run: RunFacts, subject: Subject, text: Text) -> str | None:
    """Let the model continue the head of the text, if it gives finite numbers and fits in memory."""
    if text.tokenizer is None or not subject.request.is_trained_routing:
        return None
    if not subject.process.broadcast(run.not_finite is None):
        return None
    prompt = text.ids[:SAMPLE_PROMPT_TOKENS]
    written = subject.process.generate_greedily(prompt, subject.request.sample_tokens)
    return None if written is None else text.tokenizer.decode([*prompt, *written])


def _spell_routed_text(run: RunFacts, tokenizer: Tokenizer) -> RoutedText | None:
    """The head of the first window as it reads, after its ``<s>``, with the experts that answered each token."""
    if not run.chosen_experts:
        return None
    count = len(run.chosen_experts[0])
    return RoutedText(("<s>", *tokenizer.spell(run.first_window[: count - 1])), run.chosen_experts)
