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
from typing import Any, TypeVar

from magnetar.convert.destination import forecast_room
from magnetar.convert.run import Converted, convert
from magnetar.errors import ExitCode, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.download import Fetched
from magnetar.fetch.options import FetchOptions
from magnetar.manifests.report import Report
from magnetar.model.report import BootReport
from magnetar.pipeline_fetch import Wanted, fetch_release
from magnetar.pipeline_smoke import look_up, release_of
from magnetar.pipeline_verify import verify_fetched

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
    def exit_code(self) -> ExitCode:
        """The first step that was not good decides."""
        if self.report is not None and self.report.exit_code is ExitCode.WRONG_BYTES:
            return ExitCode.WRONG_BYTES
        if self.boot is not None and not self.boot.healthy:
            return ExitCode.UNHEALTHY
        if self.not_done or (self.report is not None and self.report.exit_code):
            return ExitCode.NOT_ALL_CHECKED
        return ExitCode.GOOD


def convert_release(
    source: Path, destination: Path, *, target: str, proven: bool = False, emit: Emit = ignore, **wish: Any
) -> Converted:
    """Convert a checkpoint, with what the catalog knows of its release: name, licence, context length.

    ``proven`` says that the source was just found to be that release: only then do its manifest's digests go into
    the record of what the output was made of. ``wish`` holds the other keywords of ``convert``.
    """
    manifest = release_of(source)
    if manifest is not None:
        context = manifest.architecture.context_length
        wish |= {"context_length": context, "licence": manifest.licence, "release": manifest.name}
    if manifest is not None and proven:
        digests = {file.path: digest for file in manifest.files or () for digest in file.digests if not digest.weak}
        wish["digests"] = {path: str(digest) for path, digest in digests.items()}
    return convert(source, destination, target=target, emit=emit, **wish)


def boot_release(path: Path, *, named: str | None = None, emit: Emit = ignore, **wish: Any) -> BootReport:
    """Boot a checkpoint in any form, and hold it against what its release's manifest expects.

    A release without a text of its own is scored on the neutral one. ``wish`` holds the other keywords of ``boot``.
    """
    from magnetar.model.smoke import boot

    known = look_up(path, named)
    wish = {"golden": known.golden, "text": known.text, **wish}
    report = boot(path, expected=known.expected, tolerance=known.tolerance, emit=emit, **wish)
    if known.own or not report.tokens:
        return report
    return replace(report, assumptions=(*report.assumptions, NEUTRAL))


NEUTRAL = "scored on the neutral text that ships with this program, since no other is known for these weights"


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
        if report.exit_code is ExitCode.WRONG_BYTES:
            return got(report, None, None, tuple(steps), ("convert", "boot"))
    if target is not None:
        destination = _converted_folder(parent, fetched.folder, target)
        proven = report is not None and report.exit_code is ExitCode.GOOD
        work = partial(convert_release, fetched.folder, destination, target=target, proven=proven, emit=emit)
        converted = _timed(steps, "converted", work, _say_converted)
    if not smoke_test:
        return got(report, converted, None, tuple(steps))
    path = converted.destination if converted else fetched.folder
    if not torch_is_installed():
        emit(Remarked("not booted: torch is not installed; `pip install 'magnetar[boot]'` adds it"))
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
    good = sum(file.verdict == "good" for file in report.files)
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
