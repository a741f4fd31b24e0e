"""Where the parts are joined: from what the user names to weights that are proven to work.

Each function here is one command without its screen. Parts never call each other across rooms; what one needs of
another is handed down from here as plain data.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from magnetar.convert.conversion import read_conversion
from magnetar.convert.run import Converted, convert
from magnetar.errors import ExitCode, MagnetError, MetadataTimeout, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.download import Fetched, fetch
from magnetar.fetch.magnet import Magnet, parse_magnet
from magnetar.fetch.options import FetchOptions
from magnetar.fetch.state import read_kept_torrent
from magnetar.fetch.torrent import Metadata
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.choice import Choice, Trust, choose_manifest
from magnetar.manifests.schema import Manifest, ReleaseFile
from magnetar.manifests.verify import PieceCheck, Report, verify
from magnetar.model.bundled import NAME as BUNDLED
from magnetar.model.bundled import bundled_release, smoke_text
from magnetar.model.report import BootReport

Value = TypeVar("Value")

LIKE_A_LINK = re.compile(r"magnet:|xt=|urn:|%3A|[?&=]|^[0-9A-Fa-f]{30,}$", re.IGNORECASE)
"""What is no name of a release, and was meant as a link or an infohash."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What TARGET means: where to get it, and the release of the catalog that it is, if it is one."""

    source: Magnet | Path
    manifest: Manifest | None


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


def resolve_target(text: str) -> Wanted:
    """What the user named: a release of the catalog, a .torrent file, a magnet link, or an infohash.

    Raises ``UsageError`` for a name that nothing has, ``MagnetError`` for a link beyond healing.
    """
    path = Path(text)
    if text.lower() in catalog():
        return _from_catalog(find_release(text))
    if path.is_file():
        return Wanted(path, None)
    if path.suffix == ".torrent":
        raise UsageError(f"{path}: there is no such file", hint="check the path")
    try:
        magnet = parse_magnet(text)
    except MagnetError:
        if LIKE_A_LINK.search(text):
            raise
        return _from_catalog(find_release(text))
    return Wanted(magnet, find_by_infohash(magnet.infohash_v1, magnet.infohash_v2))


def _from_catalog(manifest: Manifest) -> Wanted:
    if manifest.magnet is None:
        raise UsageError(f"{manifest.name}: the catalog knows no magnet link for it", hint="give a link or a .torrent")
    return Wanted(parse_magnet(manifest.magnet), manifest)


def fetch_release(wanted: Wanted, parent: Path, options: FetchOptions, emit: Emit = ignore) -> Fetched:
    """Fetch what was named into ``parent/NAME``; raises as ``fetch`` does."""
    try:
        return fetch(wanted.source, parent, options=options, emit=emit)
    except MetadataTimeout as error:
        if wanted.manifest is not None and wanted.manifest.name == BUNDLED:
            error.hint = f"{BUNDLED} ships with Magnetar, in {bundled_release()}: `magnetar demo` serves and fetches it"
        raise


def verify_fetched(fetched: Fetched, emit: Emit = ignore) -> Report:
    """Hold a download that has just ended, every piece of it checked, against its manifest.

    Where no manifest is known, the files are still those that the link names, and nothing more is said.
    """
    pinned = find_by_infohash(fetched.metadata.infohash_v1, fetched.metadata.infohash_v2)
    choice = Choice(pinned, "the release that the link names", Trust.RELEASE) if pinned else None
    choice = _complete(choice, fetched.metadata)
    return verify(fetched.folder, choice, pieces=PieceCheck(frozenset()) if fetched.complete else None, emit=emit)


def verify_folder(folder: Path, named: str | None, *, strict: bool = False, emit: Emit = ignore) -> Report:
    """Hold a folder against the manifest that was named, or the one that fits.

    A folder that was fetched remembers its torrent: its pieces decide on the files that the manifest has no digest
    for, and on all of them where there is no manifest.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    torrent = read_kept_torrent(folder)
    try:
        choice: Choice | None = choose_manifest(folder, named)
    except UsageError:
        if named is not None or not torrent:
            raise
        choice = None
    if choice is not None and not (torrent and _leaves_gaps(choice.manifest)):
        return verify(folder, choice, strict=strict, emit=emit)
    choice, pieces = _check_pieces(folder, torrent, choice, emit)
    return verify(folder, choice, pieces=pieces, strict=strict, emit=emit)


def _leaves_gaps(manifest: Manifest) -> bool:
    """Whether a file, or the list of them, is without a digest."""
    return manifest.files is None or any(not file.digests for file in manifest.files)


def _check_pieces(folder: Path, torrent: bytes, choice: Choice | None, emit: Emit) -> tuple[Choice, PieceCheck | None]:
    """Hash the pieces, if they are of the release that was chosen."""
    from magnetar.fetch.checking import check_pieces
    from magnetar.fetch.metainfo import read_torrent

    metadata = read_torrent(torrent)
    pinned = find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
    if choice is not None and (pinned is None or pinned.name != choice.manifest.name):
        return choice, None
    checked = check_pieces(folder, torrent, emit=emit)
    return _complete(choice, metadata), PieceCheck(frozenset(checked.damaged))


def _complete(choice: Choice | None, metadata: Metadata) -> Choice:
    """The choice, with the torrent's own list of files where no manifest has one."""
    files = tuple(ReleaseFile(path=str(file.path), size=file.size) for file in metadata.files)
    if choice is None:
        manifest = Manifest(
            format=1,
            name="unknown",
            title=metadata.name,
            publisher="unknown",
            licence="unknown",
            infohash_v2=metadata.infohash_v2 or None,
            files=files,
        )
        return Choice(manifest, "the torrent that the link names; no manifest says whose it is", Trust.UNDAMAGED)
    if choice.manifest.files is None:
        return replace(choice, manifest=choice.manifest.model_copy(update={"files": files}))
    return choice


def convert_release(
    source: Path,
    destination: Path,
    *,
    target: str = "hf",
    from_layout: str | None = None,
    shard_size: int | None = None,
    compare: bool = True,
    emit: Emit = ignore,
) -> Converted:
    """Convert a checkpoint, with what the catalog knows of its release: name, licence, context length."""
    manifest = release_of(source)
    return convert(
        source,
        destination,
        target=target,
        from_layout=from_layout,
        shard_size=shard_size,
        context_length=manifest.architecture.context_length if manifest else None,
        licence=manifest.licence if manifest else "",
        release=manifest.name if manifest else "",
        verify=compare,
        emit=emit,
    )


def release_of(path: Path) -> Manifest | None:
    """The release that a folder (or the folder of a file) was fetched as, converted from, or fits; None if unknown."""
    folder = path if path.is_dir() else path.parent
    noted = read_conversion(folder)
    if noted is not None:
        return catalog().get(noted.release)
    try:
        return choose_manifest(folder).manifest
    except UsageError:
        return None


def boot_release(path: Path, *, named: str | None = None, emit: Emit = ignore) -> BootReport:
    """Boot a checkpoint in any form, and hold it against what its release's manifest expects."""
    from magnetar.model.smoke import boot

    manifest = find_release(named) if named else release_of(path)
    smoke = manifest.smoke if manifest else None
    if smoke is None or smoke.text != smoke_text().digest:
        return boot(path, emit=emit)
    return boot(path, expected=smoke.bits_per_byte, tolerance=smoke.tolerance, emit=emit)


def get(
    wanted: Wanted,
    parent: Path,
    *,
    target: str | None = "hf",
    check: bool = True,
    smoke_test: bool = True,
    options: FetchOptions | None = None,
    emit: Emit = ignore,
) -> Got:
    """Fetch, verify, convert, boot; a second call does only what is missing.

    ``target`` None skips the conversion. Bytes that are not the release are neither converted nor booted.
    """
    steps: list[Step] = []
    fetched = _timed(
        steps, "fetched", partial(fetch_release, wanted, parent, options or FetchOptions(), emit), _say_fetched
    )
    got = partial(Got, fetched.folder, fetched)
    report = converted = booted = None
    if check:
        report = _timed(steps, "verified", partial(verify_fetched, fetched, emit), _say_verified)
        if report.exit_code is ExitCode.WRONG_BYTES:
            return got(report, None, None, tuple(steps), ("convert", "boot"))
    if target is not None:
        destination = parent / f"{fetched.folder.name}-{target}"
        work = partial(convert_release, fetched.folder, destination, target=target, emit=emit)
        converted = _timed(steps, "converted", work, _say_converted)
    if not smoke_test:
        return got(report, converted, None, tuple(steps))
    path = converted.destination if converted else fetched.folder
    if not torch_is_installed():
        emit(Remarked("not booted: torch is not installed; `pip install 'magnetar[boot]'` adds it"))
        return got(report, converted, None, tuple(steps), ("boot",))
    booted = _timed(steps, "booted", partial(boot_release, path, emit=emit), _say_booted)
    return got(report, converted, booted, tuple(steps))


def torch_is_installed() -> bool:
    """Whether the extra ``boot`` is there, without importing it."""
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _timed(steps: list[Step], name: str, work: Callable[[], Value], say: Callable[[Value], str]) -> Value:
    began = time.monotonic()
    value = work()
    steps.append(Step(name, time.monotonic() - began, say(value)))
    return value


def _say_fetched(fetched: Fetched) -> str:
    if not fetched.downloaded:
        return "nothing was missing; every piece checked"
    return f"{fetched.downloaded:,} bytes; every piece checked"


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
