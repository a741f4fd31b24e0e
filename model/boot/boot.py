"""The smoke test: run a checkpoint once, from wherever it lies and in whatever layout, and say whether it works.

Digests prove which bytes these are; only running them proves that whoever trained or converted them left a model.
torch is imported only when a test begins that needs it.
"""

import math
import os
import re
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from magnetar.convert.transform.view import view_as
from magnetar.errors import BootError, CheckpointError, LayoutError, UsageError
from magnetar.events import Emit, ignore
from magnetar.model.architecture.tokenizer import open_tokenizer
from magnetar.model.boot.partial_checkpoint import EMPTY, report_remains
from magnetar.model.boot.report import BootReport
from magnetar.model.boot.session import RUNNING, Request, Session
from magnetar.model.bundled import smoke_text
from magnetar.model.checks.forward import Expectation
from magnetar.model.checks.levels import Level
from magnetar.model.compare.comparison import Other
from magnetar.model.machine.machine import ALONE_ON_CPU, Machine
from magnetar.model.run.fingerprint import read_fingerprint
from magnetar.model.run.weights import PUBLISHED, open_for_a_pass, stored_kind

ALL_LEVELS = tuple(Level)


def boot(
    path: Path,
    *,
    text: str | None = None,
    expected: float | None = None,
    tolerance: float = 0.01,
    greedy_tokens: int = 32,
    levels: Collection[Level] = ALL_LEVELS,
    golden: Path | None = None,
    routing: str = "trained",
    machine: Machine = ALONE_ON_CPU,
    diagnose: bool = True,
    against: Other | None = None,
    emit: Emit = ignore,
) -> BootReport:
    """Ask the checkpoint at ``path``, a folder or a file that ``convert`` reads, whether it works, level by level.

    It is scored on ``text`` (the bundled held-out text where None), all of it or as much as a model of its size can
    read in seconds, and should come to ``expected`` bits per byte, give or take the share ``tolerance``. ``golden`` is
    the file of its release's fingerprint. ``routing`` is a name of ``routing.Strategy``. ``machine`` says what may be
    used for it; a run that would take more memory is not begun. A model that is not healthy is returned as such, not
    raised; what is wrong with it is looked for if ``diagnose``. ``against`` is asked the same text, and should say the
    same.

    Weights of another architecture, or with parts missing, are looked at as far as they can be, and are not healthy.

    Raises ``UsageError`` (no such path, no torch, an empty text, an unknown routing), what ``open_source`` raises for
    a checkpoint that cannot be read at all, and what ``read_fingerprint`` raises.
    """
    began = time.monotonic()
    wanted = frozenset(Level(level) for level in levels)
    if wanted & RUNNING or against is not None:
        require_torch()
        check_routing(routing)
    request = Request(
        wanted,
        smoke_text().text if text is None else text,
        Expectation(expected, tolerance),
        None if golden is None else read_fingerprint(golden),
        greedy_tokens,
        routing,
        machine,
        diagnose,
        against,
    )
    report = _report(path, request, emit)
    peaks = machine.crew.gather(measure_peak())
    peak = None if None in peaks else max(peaks, default=None)
    return replace(report, seconds=time.monotonic() - began, peak_memory=peak)


def _report(path: Path, request: Request, emit: Emit) -> BootReport:
    crew, error = request.machine.crew, None
    try:
        source = open_for_a_pass(path)
    except (LayoutError, CheckpointError) as unread:
        error = unread
    if crew.tell(error is not None):  # the first says what can be said, and the others have nothing to do
        return EMPTY if error is None or crew.rank else report_remains(path, error, request.levels, emit)
    if error is not None:
        raise error
    with source:
        return Session(source, request, emit).report()


def make_golden(path: Path, *, text: str | None = None, emit: Emit = ignore) -> bytes:
    """The fingerprint of the checkpoint at ``path`` on the head of ``text``, as a file's bytes; the same each time.

    Raises what ``boot`` raises, and ``BootError`` if there is no tokenizer, its logits are not finite, or it is no
    better than guessing.
    """
    require_torch()
    from magnetar.model.run.measure_run import WINDOW, Task, examine

    with open_for_a_pass(path) as source:
        ids = open_tokenizer(source).encode(smoke_text().text if text is None else text)[:WINDOW]
        if not ids:
            raise UsageError("the text is empty", hint="give a text of a few hundred words")
        task = Task(ids, decoded=1)
        found = examine(view_as(source, PUBLISHED), source.architecture, stored_kind(source), task, emit=emit)
        guessing = len(ids) * math.log2(source.architecture.vocab_size)
    if found.fingerprint is None or found.bits is None:
        raise BootError(f"{path}: {found.not_finite}", hint="boot it, to see what is wrong with it")
    if found.bits >= guessing:
        raise BootError(f"{path}: is no better than guessing", hint="boot it, to see what is wrong with it")
    return found.fingerprint.encode()


def require_torch() -> None:
    """Say so where torch is missing, and keep its threads from spinning where it is not. Raises ``UsageError``."""
    if find_spec("torch") is None:
        raise UsageError("torch is not installed, and weights cannot be run without", hint="install magnetar[boot]")
    # Read when torch is first imported: threads that spin while they wait are tens of times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def check_routing(name: str) -> None:
    """Raises ``UsageError`` for a strategy that is not known."""
    from magnetar.model.architecture.routing import Strategy

    if name not in list(Strategy):
        raise UsageError(f"the routing {name!r} is not known", hint=f"known are {', '.join(Strategy)}")


def measure_peak() -> int | None:
    """The largest resident set of this process so far, in bytes; None where the platform does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return _ask_resources()
    # what getrusage says on Linux begins with the size of whoever started the process
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _ask_resources() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
