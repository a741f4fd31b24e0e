"""``get``: from what the user names to weights that are proven, converted and shown to work."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from magnetar.convert.write.convert import Converted
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.destination import forecast_room
from magnetar.convert.write.targets import find_target
from magnetar.errors import UsageError
from magnetar.events import Emit, Skipped, ignore
from magnetar.fetch.download.fetch import Fetched
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.findings import Outcome, Question, worst
from magnetar.manifests.checking.verify_report import VerifyReport
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest
from magnetar.pipeline.boot import boot_release
from magnetar.pipeline.convert import convert_release
from magnetar.pipeline.fetch import fetch_release
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.verify_files import verify_files
from magnetar.pipeline.proving.verify_request import VerifyRequest
from magnetar.pipeline.target import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequest:
    """What to get, and how far to go.

    ``target`` is the format to convert to; None skips the conversion. ``check`` holds the files against a manifest,
    ``smoke_test`` runs the weights. ``use_mirrors`` asks the mirrors of the manifest as well.
    """

    wanted: Wanted
    parent: Path
    target: str | None = "hf"
    check: bool = True
    smoke_test: bool = True
    options: FetchOptions = DEFAULT_FETCH
    use_mirrors: bool = True

    def converted_folder(self, folder: Path) -> Path:
        """Where the converted copy of ``folder`` goes."""
        return self.parent / f"{folder.name}-{self.target}"


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step of ``get`` as it went: its name, seconds of wall time, and what came of it in a few words."""

    name: str
    seconds: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Got:
    """What ``get`` did. A step that was not done is None; ``not_done`` names those that were wanted all the same."""

    folder: Path
    fetched: Fetched
    report: VerifyReport | None = None
    converted: Converted | None = None
    boot: BootReport | None = None
    steps: tuple[StepDone, ...] = ()
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
        """The worst of the steps. What was wanted and not done makes it unknown: a step, or a tensor not compared."""
        judged = [judgement.outcome for judgement in (self.report, self.boot) if judgement is not None]
        lacking = bool(self.not_done) or (self.converted is not None and self.converted.proven < self.converted.listed)
        return worst([*judged, Outcome.UNKNOWN if lacking else Outcome.GOOD])


def get(request: GetRequest, emit: Emit = ignore) -> Got:
    """Fetch, verify, convert, boot. A second call does only what is missing.

    Where the weights are to be converted, the disk must have room for both copies before the first byte comes. Bytes
    that are not the release, or could not be read, are neither converted nor booted. Raises ``UsageError`` for a format
    that is not known, before anything is fetched, and what the steps raise.
    """
    if request.target is not None:
        check_format(request.target)
    got = _fetch(request, emit)
    for step in (_verify, _convert, _boot):
        if got.outcome in (Outcome.BAD, Outcome.FAILED):
            wanted = {"convert": request.target is not None, "boot": request.smoke_test}
            return replace(got, not_done=tuple(name for name in wanted if wanted[name]))
        got = step(request, got, emit)
    return got


def check_format(name: str) -> None:
    """Refuse a format that no conversion writes. Raises ``UsageError``."""
    find_target(name)


def _fetch(request: GetRequest, emit: Emit) -> Got:
    options = request.options
    if options.stays:
        raise UsageError("`get` does not stay to seed", hint="seed what it brought: magnetar seed DIR/NAME")
    if request.target is not None:
        options = replace(options, room=partial(_room_to_convert, request))
    began = time.monotonic()
    fetched = fetch_release(request.wanted, request.parent, options, request.use_mirrors, emit=emit)
    return _note(Got(fetched.folder, fetched), "fetched", began, _describe_fetched(fetched))


def _verify(request: GetRequest, got: Got, emit: Emit) -> Got:
    if not request.check:
        return got
    began = time.monotonic()
    report = verify_files(VerifyRequest(folder=ReleaseFolder.read(got.folder), fetched=got.fetched), emit)
    return _note(replace(got, report=report), "verified", began, _describe_verified(report))


def _convert(request: GetRequest, got: Got, emit: Emit) -> Got:
    if request.target is None:
        return got
    began = time.monotonic()
    conversion = ConvertRequest(got.folder, request.converted_folder(got.folder), target=request.target)
    converted = convert_release(conversion, fetched=got.fetched, prove=request.check, emit=emit)
    return _note(replace(got, converted=converted), "converted", began, _describe_converted(converted))


def _boot(request: GetRequest, got: Got, emit: Emit) -> Got:
    if not request.smoke_test:
        return got
    if not torch_is_installed():
        emit(Skipped("boot", "torch is not installed", hint="pip install 'magnetar[boot]'"))
        return replace(got, not_done=("boot",))
    began = time.monotonic()
    report = boot_release(BootRequest(got.result), emit=emit)
    return _note(replace(got, boot=report), "booted", began, _describe_booted(report))


def _note(got: Got, name: str, began: float, verdict: str) -> Got:
    return replace(got, steps=(*got.steps, StepDone(name, time.monotonic() - began, verdict)))


def _room_to_convert(request: GetRequest, folder: Path, sizes: Mapping[str, int]) -> int:
    """The bytes that the conversion will take, so that both steps are known to fit before the first byte comes."""
    return forecast_room(sizes, request.converted_folder(folder))


def torch_is_installed() -> bool:
    """Whether the extra ``boot`` is there, without importing it."""
    return find_spec("torch") is not None


def _describe_fetched(fetched: Fetched) -> str:
    if not fetched.downloaded:
        return "nothing was missing; every piece checked"
    return f"{fetched.downloaded / 1e6:,.1f} MB; every piece checked"


def _describe_verified(report: VerifyReport) -> str:
    if report.findings:
        return f"{len(report.findings)} findings: not the release"
    if report.outcome is Outcome.FAILED:
        return "not all could be read"
    good = sum(file.state == "good" for file in report.files)
    return f"{good} of {len(report.files)} files good: {report.verdict}"


def _describe_converted(converted: Converted) -> str:
    before = "converted before, as its journal says: " if converted.already else ""
    proven = f", {converted.proven} of {converted.listed} with the listed digests" if converted.listed else ""
    compared = ", compared with the source bit for bit" if converted.verified else ""
    return f"{before}{converted.tensors} tensors{proven}{compared}"


def _describe_booted(report: BootReport) -> str:
    state = "healthy" if report.healthy else "not healthy: " + "; ".join(report.reasons)
    score = "" if report.bits_per_byte is None else f", {report.bits_per_byte:.3f} bits per byte"
    return state + score
