"""What else can be asked of weights that run: other ways of routing, a text, a fingerprint."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.files import replace_file
from magnetar.model.boot.compare_routings import RoutingScore, compare_routings
from magnetar.model.boot.report import BootReport
from magnetar.model.compare.comparison import Other, OtherCheckpoint
from magnetar.model.compare.server import Server
from magnetar.model.machine.machine import ALONE_ON_CPU, Machine
from magnetar.pipeline.folder.expectations import look_up
from magnetar.pipeline.folder.release_folder import ReleaseFolder

KEY = "MAGNETAR_AGAINST_KEY"
"""The environment variable with the key of a server that wants one."""


@dataclass(frozen=True, slots=True)
class WrittenOn:
    """What a model wrote after a prompt, in so many seconds once it was ready."""

    prompt: str
    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WrittenGolden:
    """Where a fingerprint went, and its size in bytes."""

    path: Path
    size: int


def choose_other(target: str) -> Other:
    """Whom to ask: a server for a URL, else the checkpoint at a path.

    Raises ``UsageError`` for what is neither, and what ``open_source`` raises.
    """
    if target.startswith(("http://", "https://")):
        return Server(target, os.environ.get(KEY, ""))
    if "://" in target:
        raise UsageError(f"{target!r} is neither a path nor an http URL", hint="like http://127.0.0.1:8000")
    return OtherCheckpoint(Path(target))


def compare_ways(path: Path, machine: Machine = ALONE_ON_CPU, emit: Emit = ignore) -> tuple[RoutingScore, ...]:
    """The same weights under every way of choosing who answers."""
    return compare_routings(path, text=look_up(ReleaseFolder.read(path)).text, machine=machine, emit=emit)


def write_on(
    path: Path,
    prompt: str,
    say: Callable[[str], None],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    machine: Machine = ALONE_ON_CPU,
) -> WrittenOn:
    """Write on from ``prompt``; ``say`` is given it, and each piece that comes. Raises as ``generate`` does."""
    from magnetar.model.boot.prompt import generate

    written = generate(path, prompt, max_tokens, temperature, seed, machine)
    say(prompt)
    began, pieces = time.monotonic(), list[str]()
    for piece in written:
        pieces.append(piece)
        say(piece)
    return WrittenOn(prompt, "".join(pieces), len(pieces), time.monotonic() - began)


def write_golden(path: Path, target: Path, emit: Emit = ignore) -> WrittenGolden:
    """Write the fingerprint of the weights at ``path``. Raises ``BootError`` if they are not healthy."""
    from magnetar.model.boot.boot import make_golden

    content = make_golden(path, text=look_up(ReleaseFolder.read(path)).text, emit=emit)
    replace_file(target, content)
    return WrittenGolden(target, len(content))


def write_page(report: BootReport, name: str, target: Path) -> None:
    """Write the report as one self-contained HTML page. Raises ``NoSpace`` or ``DiskError``."""
    from magnetar.model.html_report.page import draw_page

    replace_file(target, draw_page(report, name).encode())


def boot_release(path: Path, *, named: str | None = None, emit: Emit = ignore, **wish: Any) -> BootReport:
    """Boot a checkpoint in any form, and hold it against what its release's manifest expects.

    A release without a text of its own is scored on the neutral one. ``wish`` holds the other keywords of ``boot``.
    """
    from magnetar.model.boot.boot import boot

    known = look_up(ReleaseFolder.read(path), named)
    wish = {"golden": known.golden, "text": known.text, **wish}
    report = boot(path, expected=known.bits_per_byte, tolerance=known.tolerance, emit=emit, **wish)
    if known.own or not report.tokens:
        return report
    return replace(report, assumptions=(*report.assumptions, NEUTRAL))


NEUTRAL = "scored on the neutral text that ships with this program, since no other is known for these weights"
