"""What can still be said of weights that are no whole model: of another architecture, or only a part of one.

Their names and shapes mean nothing here, so nothing is run. Their numbers can be looked at all the same. No torch.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from magnetar.byte_source import LocalFolder
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_path
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, keep_as_it_is, open_as_it_is
from magnetar.convert.read.find_weights import GGUF_SUFFIX, PUBLISHED_SUFFIXES
from magnetar.errors import CheckpointError, ConversionError
from magnetar.events import Emit, ignore
from magnetar.findings import Finding
from magnetar.model.boot.report import BootReport
from magnetar.model.checks.content import Survey, check_content, survey
from magnetar.model.checks.levels import Level, LevelResult, judge, skip
from magnetar.model.run.weights import view_to_run

SHARDS = "pytorch_model*.bin"
NOT_RUN = "the model was not run: it is not whole, or of a kind that is not known"


def report_remains(path: Path, error: ConversionError, levels: Iterable[Level], emit: Emit = ignore) -> BootReport:
    """Ask the levels that need no model, where ``open_source`` raised ``error`` for ``path``.

    Raises ``CheckpointError`` or ``UnsafePickle`` if there is no file whose tensors can be found.
    """
    wanted = frozenset(levels)
    with ExitStack() as opened:
        sources, unreadable = _open_remains(path, error)
        for source in sources:
            opened.callback(source.close)
        findings = [Finding("layout", "", _with_hint(error)), *unreadable]
        results = [*_list_results(sources, findings, wanted, emit)]
        numbers = sum(source.checkpoint.parameters for source in sources)
        kinds = ", ".join(sorted({source.checkpoint.container for source in sources}))
        names = tuple(name for source in sources for name in source.files)
    assumptions = (f"only numbers were looked at, of {', '.join(names)}",) if Level.CONTENT in wanted else ()
    reasons = tuple(finding.describe() for result in results for finding in result.findings)
    return replace(
        EMPTY,
        total_parameters=numbers,
        reasons=reasons,
        levels=tuple(results),
        assumptions=assumptions,
        files=names,
        kind=kinds,
    )


EMPTY = BootReport(
    healthy=False,
    reasons=(),
    bits_per_byte=None,
    expected=None,
    tokens=0,
    text_bytes=0,
    decode_difference=None,
    expert_load=(),
    routing_entropy=None,
    sample=None,
    layout="unknown",
    total_parameters=0,
    active_parameters=None,
    seconds=0.0,
    tokens_per_second=0.0,
    assumptions=(),
)


def _list_results(
    sources: Iterable[CheckpointSource], findings: list[Finding], wanted: frozenset[Level], emit: Emit
) -> Iterator[LevelResult]:
    """What each wanted level came to; ``findings`` go to the first of them."""
    if Level.STRUCTURE in wanted:
        yield judge(Level.STRUCTURE, findings, "no model that can be run")
    if Level.CONTENT in wanted:
        yield _look(sources, [] if Level.STRUCTURE in wanted else findings, emit)
    first = not wanted & {Level.STRUCTURE, Level.CONTENT}
    for level in (Level.FORWARD, Level.GOLDEN):
        if level in wanted:
            yield skip(level, NOT_RUN, findings if first else ())
            first = False


def _look(sources: Iterable[CheckpointSource], findings: list[Finding], emit: Emit) -> LevelResult:
    """The numbers of every tensor that is there, file by file."""
    found, numbers, tensors, passed = list(findings), 0, 0, 0
    for source in sources:
        weights, seen = view_to_run(source, AS_IS), Survey()
        survey(weights, seen, emit)
        found += check_content(seen, None, {name: name for name in weights.specs}).findings
        tensors += len(seen.facts)
        numbers += sum(fact.size for fact in seen.facts.values())
        passed += len(weights.specs) - len(seen.facts)
    remark = f"{tensors} tensors, {numbers:,} numbers, each digested"
    remark += f"; {passed} of other formats were not looked at" if passed else ""
    if not found and not tensors:
        return skip(Level.CONTENT, remark)
    return judge(Level.CONTENT, found, remark)


def _open_remains(path: Path, error: ConversionError) -> tuple[list[CheckpointSource], list[Finding]]:
    """All of it as it is; where that cannot be, each file that can be read by itself, and what is wrong with others."""
    try:
        return [open_as_it_is(path)], []
    except CheckpointError as unreadable:
        sources: list[CheckpointSource] = []
        findings: list[Finding] = []
        for file in _list_files(path):
            try:
                sources.append(_keep(file, open_path(file)))
            except ConversionError as damaged:
                findings.append(Finding("unreadable", "", _with_hint(damaged)))
        if not sources:
            raise unreadable from error
        return sources, [finding for finding in findings if finding.detail != _with_hint(error)]


def _keep(file: Path, checkpoint: Checkpoint) -> CheckpointSource:
    return keep_as_it_is(LocalFolder(file.parent), (file.name,), checkpoint, file.parent)


def _list_files(path: Path) -> list[Path]:
    """The files beside or in ``path`` that may hold weights."""
    folder = path if path.is_dir() else path.parent
    suffixes = (*PUBLISHED_SUFFIXES, GGUF_SUFFIX)
    files = [file for file in folder.iterdir() if file.is_file() and (file.suffix in suffixes or file.match(SHARDS))]
    return sorted(files)


def _with_hint(error: ConversionError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
