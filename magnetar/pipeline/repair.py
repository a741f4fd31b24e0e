"""Repair with all that is known: the torrent and mirrors of the release, and which tensors were damaged."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import MetadataTimeout, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.link.magnet import parse_magnet
from magnetar.fetch.repair.repair_pieces import Repaired, repair
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.target import Target
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.metainfo import load_torrent
from magnetar.findings import Outcome, Question
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.checking.verify_report import FileDamage, FileState
from magnetar.manifests.folder.layout import publication_folder
from magnetar.manifests.identity.evidence import Certainty
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.fetch import mirrors_of
from magnetar.pipeline.folder.match_torrent import names_torrent
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.locate_damage import name_tensors
from magnetar.pipeline.proving.verify_files import verify_files
from magnetar.pipeline.proving.verify_request import VerifyRequest

if TYPE_CHECKING:  # it brings the HTTP client, which most repairs do without
    from magnetar.fetch.repair.replace_files import Replaced


@dataclass(frozen=True, slots=True)
class RepairedRelease:
    """What was repaired, and where it was damaged."""

    repaired: Repaired
    damage: tuple[FileDamage, ...]


@dataclass(frozen=True, slots=True)
class ReplacedRelease:
    """Files of a folder without a torrent that were replaced as a whole, by their digests.

    ``not_checked`` are files that the manifest has no digest for, ``still_bad`` those of which it lacks the size or the
    digest by which another would be known; ``unreadable`` those of which it lacks these too, and that may be good, but
    could not be read; ``weak`` says that for one that was replaced it has but MD5 or SHA-1.
    """

    folder: Path
    replaced: "Replaced"
    not_checked: tuple[str, ...]
    still_bad: tuple[str, ...]
    weak: bool
    unreadable: tuple[str, ...] = ()

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """Good where every file is good now, bad where one is not, failed where one cannot be read, else unknown."""
        if self.still_bad:
            return Outcome.BAD
        if self.unreadable:
            return Outcome.FAILED
        return Outcome.UNKNOWN if self.not_checked else Outcome.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairRequest:
    """A folder that is to be repaired, and what may help.

    ``named`` is a release of the catalog or a manifest, ``torrent`` a ``.torrent`` file. ``options`` say how to meet
    the swarm, which mirrors to ask, and which copies to take from. ``use_mirrors`` adds the mirrors of the manifest.
    """

    folder: ReleaseFolder
    named: str | None = None
    torrent: Path | None = None
    options: FetchOptions = DEFAULT_FETCH
    use_mirrors: bool = True


def repair_release(request: RepairRequest, emit: Emit = ignore) -> RepairedRelease | ReplacedRelease:
    """Make every piece of a folder good again; or every file, where the manifest leads to no torrent.

    The torrent is the one in the file that was named, or of the release that was (beside its manifest, or by its
    link), or the one that the folder was fetched by, or of the release that fits. Raises as ``repair`` does, and
    ``UsageError`` for a converted copy.
    """
    folder = request.folder
    if folder.conversion is not None:
        raise UsageError(
            f"{folder.root}: is a converted copy, which no torrent has",
            hint="convert again, or repair what it was made of",
        )
    target, manifest = _find_target(request)
    options = request.options
    if manifest is not None:
        options = replace(options, info_digest=manifest.info)
    if manifest is not None and request.use_mirrors:
        options = replace(options, mirrors=(*options.mirrors, *mirrors_of(manifest)))
    if target is None and manifest is not None:
        return _replace_by_digests(request, manifest, options, emit)
    try:
        repaired = repair(folder.root, target, kept=folder.torrent, options=options, emit=emit)
    except MetadataTimeout as error:
        if manifest is None or not manifest.files or not (options.mirrors or options.adopt):
            raise
        emit(Remarked(f"{error.message}; so whole files are taken, by their digests"))
        return _replace_by_digests(request, manifest, options, emit)
    # The tensors are named after the repair: a damaged header would have named the wrong ones.
    damage = tuple(
        FileDamage(path, sum(length for _, length in runs), tuple(runs), ()) for path, runs in repaired.ranges.items()
    )
    return RepairedRelease(repaired, name_tensors(folder.root, damage))


def _replace_by_digests(
    request: RepairRequest, manifest: Manifest, options: FetchOptions, emit: Emit
) -> ReplacedRelease:
    """Verify a folder, and put whole files in the place of those that are not good."""
    if not options.mirrors and not options.adopt:
        raise UsageError(
            f"{manifest.name}: its manifest names neither a torrent nor a mirror",
            hint="name its torrent: --torrent FILE; or where its files are: --mirror URL, --adopt DIR",
        )
    from magnetar.fetch.repair.replace_files import replace_files

    root = request.folder.root
    report = verify_files(VerifyRequest(folder=request.folder, named=request.named), emit)
    bad = {file.path for file in report.files if file.state is FileState.BAD}
    unreadable = {file.path for file in report.files if file.state is FileState.UNREADABLE}
    lost = bad | unreadable
    provable = [file for file in manifest.files or () if file.path in lost and file.digests and file.size is not None]
    replaced = replace_files(root, provable, options, emit)
    return ReplacedRelease(
        root,
        replaced,
        not_checked=tuple(file.path for file in report.files if file.state is FileState.NOT_CHECKED),
        still_bad=tuple(sorted(bad.difference(replaced.files))),
        weak=any(all(digest.weak for digest in file.digests) for file in provable),
        unreadable=tuple(sorted(unreadable.difference(replaced.files))),
    )


def _find_target(request: RepairRequest) -> tuple[Target | None, Manifest | None]:
    """What leads to the torrent, if anything does, and the release, if it is known."""
    if request.torrent is not None:
        return request.torrent, _release_of(load_torrent(request.torrent))
    if request.named is None and request.folder.metadata is not None:
        return request.folder.torrent, _release_of(request.folder.metadata)
    manifest = _choose(request)
    if beside := _torrent_beside(request, manifest):
        return beside, manifest
    return parse_magnet(manifest.magnet) if manifest.magnet else None, manifest


def _choose(request: RepairRequest) -> Manifest:
    """The manifest that was named, or that fits. Raises ``UsageError``, which says what the content would suggest."""
    try:
        return request.folder.choose(request.named).manifest
    except UsageError as error:
        candidate = request.folder.candidate if request.named is None else None
        if candidate is not None and candidate.certainty is Certainty.CANDIDATE:
            error.hint = f"by content: {candidate.describe()}: --manifest {candidate.release}"
        raise


def _torrent_beside(request: RepairRequest, manifest: Manifest) -> Path | None:
    """The torrent that was published with the manifest, if it lies where ``publish`` puts it and is the one pinned."""
    place = Path(request.named).parent if request.named else publication_folder(request.folder.root)
    path = place / f"{manifest.name}.torrent"
    return path if path.is_file() and names_torrent(manifest, load_torrent(path)) else None


def _release_of(metadata: Metadata) -> Manifest | None:
    return find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
