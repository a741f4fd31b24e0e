"""Repair with all that is known: the torrent and mirrors of the release, and which tensors were damaged."""

from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.conversion import read_conversion
from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.fetch.magnet import parse_magnet
from magnetar.fetch.metainfo import load_torrent, read_torrent
from magnetar.fetch.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.repair import Repaired, repair
from magnetar.fetch.state import read_kept_torrent
from magnetar.fetch.target import Target
from magnetar.fetch.torrent import Metadata
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.choice import choose_manifest
from magnetar.manifests.folder import publication_folder
from magnetar.manifests.report import FileDamage
from magnetar.manifests.schema import Manifest
from magnetar.pipeline_damage import name_tensors
from magnetar.pipeline_fetch import mirrors_of
from magnetar.pipeline_verify import names_torrent


@dataclass(frozen=True, slots=True)
class RepairedRelease:
    """What was repaired, and where it was damaged."""

    repaired: Repaired
    damage: tuple[FileDamage, ...]


def repair_release(
    folder: Path,
    *,
    named: str | None = None,
    torrent: Path | None = None,
    options: FetchOptions = DEFAULT_FETCH,
    use_mirrors: bool = True,
    emit: Emit = ignore,
) -> RepairedRelease:
    """Make every piece of a folder good again.

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
    repaired = repair(folder, target, options=options, emit=emit)
    # Named after the repair: a damaged header would have named the wrong ones.
    damage = tuple(
        FileDamage(path, sum(length for _, length in runs), tuple(runs), ()) for path, runs in repaired.ranges.items()
    )
    return RepairedRelease(repaired, name_tensors(folder, damage))


def _find_target(folder: Path, named: str | None, torrent: Path | None) -> tuple[Target | None, Manifest | None]:
    """What leads to the torrent (None: the folder's own), and the release, if it is known."""
    if torrent is not None:
        return torrent, _release_of(load_torrent(torrent))
    if named is None and (kept := read_kept_torrent(folder)):
        return None, _release_of(read_torrent(kept))
    manifest = choose_manifest(folder, named).manifest
    if beside := _torrent_beside(folder, named, manifest):
        return beside, manifest
    if manifest.magnet is None:
        raise UsageError(f"{manifest.name}: its manifest has no magnet link", hint="name its torrent: --torrent FILE")
    return parse_magnet(manifest.magnet), manifest


def _torrent_beside(folder: Path, named: str | None, manifest: Manifest) -> Path | None:
    """The torrent that was published with the manifest, if it lies where ``publish`` puts it and is the one pinned."""
    place = Path(named).parent if named else publication_folder(folder)
    path = place / f"{manifest.name}.torrent"
    return path if path.is_file() and names_torrent(manifest, load_torrent(path)) else None


def _release_of(metadata: Metadata) -> Manifest | None:
    return find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
