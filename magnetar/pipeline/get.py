"""Where the parts are joined: from what the user names to weights that are proven to work.

Each function here is one command without its screen. Parts never call each other across rooms; what one needs of
another is handed down from here as plain data.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from magnetar.convert.write.convert import Converted
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.destination import forecast_room
from magnetar.errors import UsageError
from magnetar.events import Emit, Skipped, ignore
from magnetar.fetch.download.fetch import Fetched
from magnetar.fetch.request.options import FetchOptions
from magnetar.findings import Outcome, Question, worst
from magnetar.manifests.checking.report import Report
from magnetar.model.boot.report import BootReport
from magnetar.pipeline.boot import boot_release
from magnetar.pipeline.convert import convert_release
from magnetar.pipeline.fetch import fetch_release
from magnetar.pipeline.target import Wanted
from magnetar.pipeline.verify import verify_fetched

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of ``get`` as it went: its name, seconds of wall time, and a verdict in a few words."""

    name: str
    seconds: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Got:
    """What ``get`` did. A step that was skipped is None."""

    folder: Path
    fetched: Fetched
    report: Report | None
    converted: Converted | None
    boot: BootReport | None
    steps: tuple[Step, ...]
    not_done: tuple[str, ...] = ()

    @property
    def result(self) -> Path:
        """The folder that the user wanted."""
        return self.converted.destination if self.converted else self.folder

    @property
    def question(self) -> Question:
        """What the first step that went bad asked; of the bytes where none did."""
        bytes_are_bad = self.report is not None and self.report.outcome is Outcome.BAD
        return Question.FUNCTION if self.boot is not None and not bytes_are_bad else Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """The worst of the steps. A step that was wanted and not done makes it unknown."""
        judged = [judgement.outcome for judgement in (self.report, self.boot) if judgement is not None]
        return worst([*judged, *(Outcome.UNKNOWN for _ in self.not_done), Outcome.GOOD])


def get(
    wanted: Wanted,
    parent: Path,
    *,
    target: str | None = "hf",
    check: bool = True,
    smoke_test: bool = True,
    options: FetchOptions | None = None,
    use_mirrors: bool = True,
    emit: Emit = ignore,
) -> Got:
    """Fetch, verify, convert, boot; a second call does only what is missing.

    ``target`` None skips the conversion; else the disk must have room for both before the first byte comes. Bytes that
    are not the release are neither converted nor booted.
    """
    options = options or FetchOptions()
    if options.stays:
        raise UsageError("`get` does not stay to seed", hint="seed what it brought: magnetar seed DIR/NAME")
    if target is not None:
        options = replace(options, room=partial(_room_to_convert, parent, target))
    steps: list[Step] = []
    fetching = partial(fetch_release, wanted, parent, options, use_mirrors, emit=emit)
    fetched = _timed(steps, "fetched", fetching, _say_fetched)
    got = partial(Got, fetched.folder, fetched)
    report = converted = booted = None
    if check:
        report = _timed(steps, "verified", partial(verify_fetched, fetched, emit), _say_verified)
        if report.outcome is Outcome.BAD:
            return got(report, None, None, tuple(steps), ("convert", "boot"))
    if target is not None:
        destination = _converted_folder(parent, fetched.folder, target)
        proven = report is not None and report.outcome is Outcome.GOOD
        request = ConvertRequest(fetched.folder, destination, target=target)
        work = partial(convert_release, request, proven=proven, emit=emit)
        converted = _timed(steps, "converted", work, _say_converted)
    if not smoke_test:
        return got(report, converted, None, tuple(steps))
    path = converted.destination if converted else fetched.folder
    if not torch_is_installed():
        emit(Skipped("boot", "torch is not installed", hint="pip install 'magnetar[boot]'"))
        return got(report, converted, None, tuple(steps), ("boot",))
    booted = _timed(steps, "booted", partial(boot_release, path, emit=emit), _say_booted)
    return got(report, converted, booted, tuple(steps))


def _converted_folder(parent: Path, folder: Path, target: str) -> Path:
    return parent / f"{folder.name}-{target}"


def _room_to_convert(parent: Path, target: str, folder: Path, sizes: Mapping[str, int]) -> int:
    """What the conversion will take of the disk, so that both steps are known to fit before the first byte comes."""
    return forecast_room(sizes, _converted_folder(parent, folder, target))


def torch_is_installed() -> bool:
    """Whether the extra ``boot`` is there, without importing it."""
    return find_spec("torch") is not None


def _timed(steps: list[Step], name: str, work: Callable[[], Value], say: Callable[[Value], str]) -> Value:
    began = time.monotonic()
    value = work()
    steps.append(Step(name, time.monotonic() - began, say(value)))
    return value


def _say_fetched(fetched: Fetched) -> str:
    if not fetched.downloaded:
        return "nothing was missing; every piece checked"
    return f"{fetched.downloaded / 1e6:,.1f} MB; every piece checked"


def _say_verified(report: Report) -> str:
    if report.findings:
        return f"{len(report.findings)} findings: not the release"
    good = sum(file.state == "good" for file in report.files)
    return f"{good} of {len(report.files)} files good: {report.trust}"


def _say_converted(converted: Converted) -> str:
    if converted.already:
        return "was converted before, and is whole"
    compared = ", compared with the source bit for bit" if converted.verified else ""
    return f"{converted.tensors} tensors{compared}"


def _say_booted(report: BootReport) -> str:
    state = "healthy" if report.healthy else "not healthy: " + "; ".join(report.reasons)
    score = "" if report.bits_per_byte is None else f", {report.bits_per_byte:.3f} bits per byte"
    return state + score
