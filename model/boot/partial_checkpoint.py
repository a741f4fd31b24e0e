"""What can still be tested in weights that are no whole model: of another architecture, or only a part of one.

Their names and shapes mean nothing here, so nothing is run. Their numbers can be tested all the same. No torch here.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from magnetar.byte_source import LocalFolder
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_path
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, keep_as_it_is, open_as_it_is
from magnetar.convert.read.find_weights import GGUF_SUFFIX, PUBLISHED_SUFFIXES
from magnetar.errors import CheckpointError, ConversionError
from magnetar.events import Emit, ignore
from magnetar.findings import Finding
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.checks.content import Survey, judge_content, survey_rest
from magnetar.model.checks.levels import Level, LevelResult, conclude, skip
from magnetar.model.run.weights import view_to_run

SHARDS = "pytorch_model*.bin"
NO_MODEL = "the model was not run: it is not whole, or of a kind that is not known"


def report_partial(path: Path, error: ConversionError, levels: Collection[Level], emit: Emit = ignore) -> BootReport:
    """Test the levels that need no model, where ``open_source`` raised ``error`` for ``path``.

    Raises ``CheckpointError`` or ``UnsafePickle`` if there is no file whose tensors can be found.
    """
    with ExitStack() as opened:
        sources, unreadable = _open_parts(path, error)
        for source in sources:
            opened.callback(source.close)
        findings = [Finding("layout", "", _with_hint(error)), *unreadable]
        results = tuple(_judge_levels(sources, findings, levels, emit))
        numbers = sum(source.checkpoint.parameters for source in sources)
        kinds = ", ".join(sorted({source.checkpoint.container for source in sources}))
        names = tuple(name for source in sources for name in source.files)
    return BootReport(
        healthy=False,
        reasons=tuple(finding.describe() for result in results for finding in result.findings),
        total_parameters=numbers,
        assumptions=(f"only numbers were looked at, of {', '.join(names)}",) if Level.CONTENT in levels else (),
        levels=results,
        files=names,
        kind=kinds,
    )


def _judge_levels(
    sources: Sequence[CheckpointSource], findings: list[Finding], asked: Collection[Level], emit: Emit
) -> Iterator[LevelResult]:
    """One verdict for each level that was asked for. The first has ``findings``, which say why this is no model."""
    for level in (level for level in Level if level in asked):
        if level is Level.STRUCTURE:
            yield conclude(level, findings, "no model that can be run")
        elif level is Level.CONTENT:
            yield _judge_numbers(sources, findings, emit)
        else:
            yield skip(level, NO_MODEL, findings)
        findings = []


def _judge_numbers(sources: Iterable[CheckpointSource], findings: list[Finding], emit: Emit) -> LevelResult:
    """Read and judge the numbers of every tensor that is there, file by file."""
    found, numbers, tensors, passed_over = list(findings), 0, 0, 0
    for source in sources:
        weights, survey = view_to_run(source, AS_IS), Survey()
        survey_rest(weights, survey, emit)
        found += judge_content(survey.facts, None, {name: name for name in weights.specs}).findings
        tensors += len(survey.facts)
        numbers += sum(fact.size for fact in survey.facts.values())
        passed_over += len(weights.specs) - len(survey.facts)
    remark = f"{tensors} tensors, {numbers:,} numbers, each digested"
    remark += f"; {passed_over} of other formats were not looked at" if passed_over else ""
    if not found and not tensors:
        return skip(Level.CONTENT, remark)
    return conclude(Level.CONTENT, found, remark)


def _open_parts(path: Path, error: ConversionError) -> tuple[list[CheckpointSource], list[Finding]]:
    """Open all of it as it is. Where that fails, open each file by itself, and say what is wrong with the others."""
    try:
        return [open_as_it_is(path)], []
    except CheckpointError as unreadable:
        sources: list[CheckpointSource] = []
        findings: list[Finding] = []
        for file in _list_weight_files(path):
            try:
                sources.append(_wrap_file(file, open_path(file)))
            except ConversionError as damaged:
                findings.append(Finding("unreadable", "", _with_hint(damaged)))
        if not sources:
            raise unreadable from error
        return sources, [finding for finding in findings if finding.detail != _with_hint(error)]


def _wrap_file(file: Path, checkpoint: Checkpoint) -> CheckpointSource:
    """One file as a source of its own, with its names as they are."""
    return keep_as_it_is(LocalFolder(file.parent), (file.name,), checkpoint, file.parent)


def _list_weight_files(path: Path) -> list[Path]:
    """The files beside or in ``path`` that may hold weights."""
    folder = path if path.is_dir() else path.parent
    suffixes = (*PUBLISHED_SUFFIXES, GGUF_SUFFIX)
    files = [file for file in folder.iterdir() if file.is_file() and (file.suffix in suffixes or file.match(SHARDS))]
    return sorted(files)


def _with_hint(error: ConversionError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
