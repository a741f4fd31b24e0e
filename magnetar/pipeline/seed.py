"""Seeding what the catalog knows under the infohash that everybody else uses."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.link.magnet import Magnet, parse_magnet
from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.seed.seed import Seeded, Seeding, Watch, seed_all
from magnetar.manifests.checking.ledger import INDEPENDENT
from magnetar.manifests.schema import ReleaseFile
from magnetar.pipeline.folder.release_folder import ReleaseFolder


def seed_releases(
    folders: Sequence[Path],
    options: SeedOptions,
    listening: Callable[[Seeding], None],
    watch: Watch,
    emit: Emit = ignore,
) -> tuple[Seeded, ...]:
    """Serve folders as ``seed_all`` does, a release of the catalog in its own swarm; raises as that does."""
    read = cache(ReleaseFolder.read)

    def link_of(path: Path) -> Magnet | None:
        link = known_link(read(path))
        candidate = read(path).candidate if link is None else None
        if candidate is not None:
            emit(Remarked(f"{path}: {candidate.describe()}; its files are not that release's, nor is its infohash"))
        return link

    def kept_torrent_of(path: Path) -> bytes:
        return read(path).torrent

    return seed_all(
        folders,
        options=options,
        listening=listening,
        link_of=link_of,
        kept_torrent_of=kept_torrent_of,
        watch=watch,
        emit=emit,
    )


def known_link(folder: ReleaseFolder) -> Magnet | None:
    """The link of the release of the catalog whose files, all of them, lie in the folder in their sizes; else None."""
    try:
        choice = folder.choose()
    except UsageError:
        return None
    manifest = choice.manifest
    if choice.voucher not in INDEPENDENT or manifest.magnet is None or not manifest.files:
        return None
    return parse_magnet(manifest.magnet) if all(_is_there(folder.root, file) for file in manifest.files) else None


def _is_there(folder: Path, file: ReleaseFile) -> bool:
    path = folder / file.path
    return path.is_file() and file.size in (None, path.stat().st_size)
