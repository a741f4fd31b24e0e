"""The smoke test: run a checkpoint once, in whatever layout, and say whether it works.

Digests prove which bytes these are. Only a run proves that these bytes are a model that works.
torch is imported only when a test begins that needs it.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.transform.view import view_as
from magnetar.errors import BootError, CheckpointError, LayoutError, UsageError
from magnetar.events import Emit, ignore
from magnetar.model.architecture.tokenizer import open_tokenizer
from magnetar.model.boot.boot_report import REPORT_OF_ANOTHER_PROCESS, BootReport
from magnetar.model.boot.boot_request import BootRequest, check_routing
from magnetar.model.boot.build_report import build_report
from magnetar.model.boot.distributed_run import DistributedRun
from magnetar.model.boot.find_cure import find_cure
from magnetar.model.boot.judge import BootExpectations, judge
from magnetar.model.boot.measure import measure
from magnetar.model.boot.partial_checkpoint import report_partial
from magnetar.model.bundled import smoke_text
from magnetar.model.checks.forward import ExpectedScore
from magnetar.model.machine.memory import peak_memory
from magnetar.model.machine.require_torch import require_torch
from magnetar.model.run.fingerprint import read_fingerprint
from magnetar.model.run.weights import PUBLISHED, open_for_a_pass, stored_kind, view_to_run


def boot(request: BootRequest, emit: Emit = ignore) -> BootReport:
    """Test whether a checkpoint works, level by level. A model that is not healthy is returned as such, not raised.

    Weights of another architecture, or with parts missing, are tested as far as they can be, and are not healthy.

    Raises ``UsageError`` (no such path, no torch, an empty text, an unknown routing), what ``open_source`` raises for
    a checkpoint that cannot be read at all, and what ``read_fingerprint`` raises.
    """
    began = time.monotonic()
    if request.runs_the_model:
        require_torch()
        check_routing(request.routing)
    golden = None if request.golden is None else read_fingerprint(request.golden)
    expected = BootExpectations(ExpectedScore(request.expected, request.tolerance), golden)
    report = _open_and_boot(request, expected, emit)
    peaks = request.machine.group.gather(peak_memory())
    peak = None if None in peaks else max(peaks, default=None)
    return replace(report, seconds=time.monotonic() - began, peak_memory=peak)


def _open_and_boot(request: BootRequest, expected: BootExpectations, emit: Emit) -> BootReport:
    """Open the checkpoint and boot it. What is no whole model of a known kind is tested as it is."""
    group, error = request.machine.group, None
    try:
        source = open_for_a_pass(request.path)
    except (LayoutError, CheckpointError) as unread:
        error = unread
    if group.broadcast(error is not None):  # process 0 says what can be said, and the others have nothing to do
        if error is None or group.rank:
            return REPORT_OF_ANOTHER_PROCESS
        return report_partial(request.path, error, request.levels, emit)
    if error is not None:
        raise error
    with source:
        return _boot_source(source, request, expected, emit)


def _boot_source(source: CheckpointSource, request: BootRequest, expected: BootExpectations, emit: Emit) -> BootReport:
    """Measure, judge, look for a cure, report."""
    weights = view_to_run(source)
    process = DistributedRun(weights, source.architecture, request.machine)
    facts = measure(source, request, expected.golden, process, emit)
    if not process.first:
        return REPORT_OF_ANOTHER_PROCESS
    verdicts = judge(facts, expected, request.levels)
    diagnosis = None
    if request.diagnose and request.is_trained_routing:
        diagnosis = find_cure(source, weights, facts, expected, verdicts, request, emit)
    return build_report(facts, expected, verdicts, diagnosis, request.routing)


def make_golden(path: Path, text: str | None = None, emit: Emit = ignore) -> bytes:
    """The fingerprint of the checkpoint at ``path`` on the head of ``text``, as a file's bytes; the same each time.

    ``text`` is the bundled held-out text where it is None.

    Raises what ``boot`` raises, and ``BootError`` if there is no tokenizer, its logits are not finite, or it is no
    better than guessing.
    """
    require_torch()
    from magnetar.model.run.measure_run import WINDOW, RunPlan, measure_run

    with open_for_a_pass(path) as source:
        ids = open_tokenizer(source).encode(smoke_text().text if text is None else text)[:WINDOW]
        if not ids:
            raise UsageError("the text is empty", hint="give a text of a few hundred words")
        weights, kind = view_as(source, PUBLISHED), stored_kind(source)
        run = measure_run(weights, source.architecture, kind, RunPlan(ids, decoded=1), emit=emit)
        guessing = len(ids) * math.log2(source.architecture.vocab_size)
    if run.fingerprint is None or run.bits is None:
        raise BootError(f"{path}: {run.not_finite}", hint="boot it, to see what is wrong with it")
    if run.bits >= guessing:
        raise BootError(f"{path}: is no better than guessing", hint="boot it, to see what is wrong with it")
    return run.fingerprint.encode()
