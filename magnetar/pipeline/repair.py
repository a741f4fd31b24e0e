"""Repair with all that is known: the torrent and mirrors of the release, and which tensors were damaged."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.write.journal import read_conversion
from magnetar.errors import MetadataTimeout, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.download.state_folder import read_kept_torrent
from magnetar.fetch.link.magnet import parse_magnet
from magnetar.fetch.repair.repair_pieces import Repaired, repair
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.request.target import Target
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.metainfo import load_torrent, read_torrent
from magnetar.findings import Outcome, Question
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.checking.report import FileDamage, FileState
from magnetar.manifests.folder.layout import publication_folder
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.fetch import mirrors_of
from magnetar.pipeline.folder.release_folder import choose_for, names_torrent
from magnetar.pipeline.proving.locate_damage import name_tensors
from magnetar.pipeline.verify import verify_folder

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
    digest by which another would be known; ``weak`` says that for one that was replaced it has but MD5 or SHA-1.
    """

    folder: Path
    replaced: "Replaced"
    not_checked: tuple[str, ...]
    still_bad: tuple[str, ...]
    weak: bool

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """Good where every file is good now, bad where one is not, unknown where some could not be checked."""
        if self.still_bad:
            return Outcome.BAD
        return Outcome.UNKNOWN if self.not_checked else Outcome.GOOD


def repair_release(
    folder: Path,
    *,
    named: str | None = None,
    torrent: Path | None = None,
    options: FetchOptions = DEFAULT_FETCH,
    use_mirrors: bool = True,
    emit: Emit = ignore,
) -> RepairedRelease | ReplacedRelease:
    """Make every piece of a folder good again; or every file, where the manifest leads to no torrent.

    The torrent is the one in the file that was named, or of the release that was (beside its manifest, or by its
    link), or the one that the folder was fetched by, or of the release that fits. Raises as ``repair`` does, and
    ``UsageError`` for a converted copy.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder of a release")
    if read_conversion(folder) is not None:
        raise UsageError(
            f"{folder}: is a converted copy, which no torrent has", hint="convert again, or repair what it was made of"
        )
    target, manifest = _find_target(folder, named, torrent)
    if manifest is not None:
        options = replace(options, info_digest=manifest.info)
        options = replace(options, mirrors=(*options.mirrors, *mirrors_of(manifest))) if use_mirrors else options
    if target is None and manifest is not None:
        return _replace_by_digests(folder, named, manifest, options, emit)
    try:
        repaired = repair(folder, target, options=options, emit=emit)
    except MetadataTimeout as error:
        if manifest is None or not manifest.files or not (options.mirrors or options.adopt):
            raise
        emit(Remarked(f"{error.message}; so whole files are taken, by their digests"))
        return _replace_by_digests(folder, named, manifest, options, emit)
    # Named after the repair: a damaged header would have named the wrong ones.
    damage = tuple(
        FileDamage(path, sum(length for _, length in runs), tuple(runs), ()) for path, runs in repaired.ranges.items()
    )
    return RepairedRelease(repaired, name_tensors(folder, damage))


def _replace_by_digests(
    folder: Path, named: str | None, manifest: Manifest, options: FetchOptions, emit: Emit
) -> ReplacedRelease:
    """Verify a folder, and put whole files in the place of those that are not good."""
    if not options.mirrors and not options.adopt:
        raise UsageError(
            f"{manifest.name}: its manifest names neither a torrent nor a mirror",
            hint="name its torrent: --torrent FILE; or where its files are: --mirror URL, --adopt DIR",
        )
    from magnetar.fetch.repair.replace_files import replace_files

    report = verify_folder(folder, named, emit=emit)
    bad = {file.path for file in report.files if file.state is FileState.BAD}
    provable = [one for one in manifest.files or () if one.path in bad and one.digests and one.size is not None]
    replaced = replace_files(folder, provable, options, emit)
    return ReplacedRelease(
        folder,
        replaced,
        not_checked=tuple(file.path for file in report.files if file.state is FileState.NOT_CHECKED),
        still_bad=tuple(sorted(bad.difference(replaced.files))),
        weak=any(all(digest.weak for digest in file.digests) for file in provable),
    )


def _find_target(folder: Path, named: str | None, torrent: Path | None) -> tuple[Target | None, Manifest | None]:
    """What leads to the torrent, if anything does, and the release, if it is known."""
    if torrent is not None:
        return torrent, _release_of(load_torrent(torrent))
    if named is None and (kept := read_kept_torrent(folder)):
        return kept, _release_of(read_torrent(kept))
    manifest = choose_for(folder, named).manifest
    if beside := _torrent_beside(folder, named, manifest):
        return beside, manifest
    return parse_magnet(manifest.magnet) if manifest.magnet else None, manifest


def _torrent_beside(folder: Path, named: str | None, manifest: Manifest) -> Path | None:
    """The torrent that was published with the manifest, if it lies where ``publish`` puts it and is the one pinned."""
    place = Path(named).parent if named else publication_folder(folder)
    path = place / f"{manifest.name}.torrent"
    return path if path.is_file() and names_torrent(manifest, load_torrent(path)) else None


def _release_of(metadata: Metadata) -> Manifest | None:
    return find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
