"""Repair with all that is known: the torrent and mirrors of the release, and which tensors were damaged."""

from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.conversion import read_conversion
from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.fetch.magnet import parse_magnet
from magnetar.fetch.metainfo import read_torrent, read_torrent_file
from magnetar.fetch.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.repair import Repaired, repair
from magnetar.fetch.state import read_kept_torrent
from magnetar.fetch.target import Target
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.choice import choose_manifest
from magnetar.manifests.report import FileDamage
from magnetar.manifests.schema import Manifest
from magnetar.pipeline_damage import name_tensors
from magnetar.pipeline_fetch import mirrors_of


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

    The torrent is the one in the file that was named, or of the release that was, or the one that the folder was
    fetched by, or of the release that fits. Raises as ``repair`` does, and ``UsageError`` for a converted copy.
    """
    if folder.is_dir() and read_conversion(folder) is not None:
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
        content = read_torrent_file(torrent)
        return content, _release_of(content)
    if named is None and (kept := read_kept_torrent(folder)):
        return None, _release_of(kept)
    manifest = choose_manifest(folder, named).manifest
    if manifest.magnet is None:
        raise UsageError(f"{manifest.name}: its manifest has no magnet link", hint="name its torrent: --torrent FILE")
    return parse_magnet(manifest.magnet), manifest


def _release_of(torrent: bytes) -> Manifest | None:
    metadata = read_torrent(torrent)
    return find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
