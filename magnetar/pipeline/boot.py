"""What can be asked of weights that run: to be booted, to be compared under several routings, to continue a text."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.files import replace_file
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest, PromptRequest, RoutingRequest
from magnetar.model.boot.compare_routings import RoutingScore, compare_routings
from magnetar.model.compare.comparison import OtherCheckpoint, OtherModel
from magnetar.model.compare.server import Server
from magnetar.pipeline.folder.expectations import look_up
from magnetar.pipeline.folder.release_folder import ReleaseFolder

KEY_VARIABLE = "MAGNETAR_AGAINST_KEY"
"""The environment variable with the key of a server that wants one."""

NEUTRAL = "scored on the neutral text that ships with this program, since no other is known for these weights"


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model wrote after a prompt: ``tokens`` tokens in ``seconds`` seconds, once it was ready."""

    prompt: str
    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WrittenFingerprint:
    """The file that a fingerprint was written to, and its size in bytes."""

    path: Path
    size: int


def boot_release(request: BootRequest, *, manifest: str | None = None, emit: Emit = ignore) -> BootReport:
    """Boot a checkpoint, and hold it against what the manifest of its release expects.

    The manifest is the one named, or the one that is found for the folder, by the content of the weights first. It
    completes the request: the text, the expected score with its tolerance, and the fingerprint, each where the request
    does not say it. A release without a text of its own is scored on the neutral one, and the report says so.

    Raises what ``look_up`` and ``boot`` raise.
    """
    from magnetar.model.boot.boot import boot

    folder = ReleaseFolder.read(request.path)
    known = look_up(folder, manifest)
    completed = replace(
        request,
        text=known.text if request.text is None else request.text,
        golden=known.golden if request.golden is None else request.golden,
        expected=known.bits_per_byte if request.expected is None else request.expected,
        tolerance=known.tolerance if request.expected is None else request.tolerance,
        converted_from=folder.conversion.release if folder.conversion else "",
    )
    report = boot(completed, emit)
    if folder.candidate is not None:
        report = replace(report, assumptions=(*report.assumptions, f"by content: {folder.candidate.describe()}"))
    if known.own or request.text is not None or not report.tokens:
        return report
    return replace(report, assumptions=(*report.assumptions, NEUTRAL))


def choose_other(target: str) -> OtherModel:
    """The model to compare with: a server for an http URL, else the checkpoint at a path.

    Raises ``UsageError`` for another kind of URL, and what ``open_source`` raises.
    """
    if target.startswith(("http://", "https://")):
        return Server(target, os.environ.get(KEY_VARIABLE, ""))
    if "://" in target:
        raise UsageError(f"{target!r} is neither a path nor an http URL", hint="like http://127.0.0.1:8000")
    return OtherCheckpoint(Path(target))


def compare_release_routings(request: RoutingRequest, emit: Emit = ignore) -> tuple[RoutingScore, ...]:
    """Score the same weights under every routing strategy, on the text of their release."""
    return compare_routings(replace(request, text=look_up(ReleaseFolder.read(request.path)).text), emit)


def continue_prompt(request: PromptRequest, show: Callable[[str], None]) -> Continuation:
    """Continue a prompt. ``show`` is called with the prompt, then with each token as it comes.

    Raises what ``generate`` raises.
    """
    from magnetar.model.boot.prompt import generate

    written = generate(request)
    show(request.prompt)
    began, tokens = time.monotonic(), list[str]()
    for token in written:
        tokens.append(token)
        show(token)
    return Continuation(request.prompt, "".join(tokens), len(tokens), time.monotonic() - began)


def write_fingerprint(path: Path, target: Path, emit: Emit = ignore) -> WrittenFingerprint:
    """Write the fingerprint of the weights at ``path`` to the file ``target``. Raises what ``make_golden`` raises."""
    from magnetar.model.boot.boot import make_golden

    content = make_golden(path, look_up(ReleaseFolder.read(path)).text, emit)
    replace_file(target, content)
    return WrittenFingerprint(target, len(content))


def write_page(report: BootReport, name: str, target: Path) -> None:
    """Write the report as one self-contained HTML page. Raises ``NoSpace`` or ``DiskError``."""
    from magnetar.model.html_report.page import draw_page

    replace_file(target, draw_page(report, name).encode())
