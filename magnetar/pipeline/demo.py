"""The whole path on one machine: a seeder and a fetcher as two processes on 127.0.0.1, joined by a magnet link."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import OutsideError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.link.magnet import parse_magnet
from magnetar.fetch.request.options import FetchOptions
from magnetar.files import disk_failure
from magnetar.findings import Outcome, Question
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.get import GetRequest, Got, get
from magnetar.pipeline.target import identify_target

SEEDER_PATIENCE = 60.0
"""Seconds for the seeder to start, hash 8 MB and listen. It takes one."""


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """What the demonstration showed; ``folder`` is where it worked, and ``kept`` whether it is still there."""

    magnet: str
    got: Got
    folder: Path
    kept: bool

    @property
    def question(self) -> Question:
        """That of the path it walked."""
        return self.got.question

    @property
    def outcome(self) -> Outcome:
        """That of the path it walked."""
        return self.got.outcome


def demonstrate(folder: Path | None = None, *, keep: bool = False, emit: Emit = ignore) -> Demonstrated:
    """Seed the bundled release from another process, then get it by its magnet link: fetch, verify, convert, boot.

    Works in ``folder``, or in a temporary one; ``keep`` leaves it there. Raises what ``get`` raises.
    """
    with ExitStack() as stack:
        place = _working_folder(folder, keep, stack)
        served = place / "seeder" / bundled_release().name
        try:
            shutil.copytree(bundled_release(), served, dirs_exist_ok=True)
        except OSError as error:
            raise disk_failure(error, served) from error
        magnet = stack.enter_context(_seeder(served))
        emit(Remarked(f"another process serves {served.name} on 127.0.0.1"))
        options = FetchOptions(loopback=True)
        request = GetRequest(wanted=identify_target(magnet), parent=place / "downloads", options=options)
        got = get(request, emit)
        return Demonstrated(magnet, got, place, keep or folder is not None)


def _working_folder(folder: Path | None, keep: bool, stack: ExitStack) -> Path:
    if folder is not None:
        return folder
    if keep:
        return Path(tempfile.mkdtemp(prefix="magnetar-demo-"))
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="magnetar-demo-")))


@contextmanager
def _seeder(folder: Path) -> Iterator[str]:
    """The magnet link of ``folder``, served by a process of its own for as long as the context lasts."""
    command = [sys.executable, "-m", "magnetar", "seed", str(folder), "--loopback", "--json", "--quiet"]
    # The command is our own program; the folder is the only word in it that is not a literal.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield _read_magnet(process)
        finally:
            process.terminate()


def _read_magnet(process: "subprocess.Popen[str]") -> str:
    """The link that the seeder prints once it listens."""
    watchdog = threading.Timer(SEEDER_PATIENCE, process.kill)
    watchdog.start()
    line = process.stdout.readline() if process.stdout else ""
    watchdog.cancel()
    try:
        return str(parse_magnet(json.loads(line)["result"]["magnet"]))
    except (ValueError, KeyError, TypeError) as error:
        complaint = line.strip() or (process.stderr.read().strip() if process.stderr else "")
        raise OutsideError(f"the seeder did not start: {complaint[-500:] or 'it said nothing'}") from error
