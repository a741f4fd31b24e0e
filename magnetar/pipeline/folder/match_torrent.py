"""Whether a manifest and a torrent speak of the same release, and what the torrent adds to the manifest."""

from dataclasses import replace

from magnetar.fetch.torrent.metadata import Metadata
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.schema import Manifest, ReleaseFile


def names_torrent(manifest: Manifest, metadata: Metadata) -> bool:
    """Whether a manifest pins that torrent: by each infohash that both have, and by one at least."""
    pairs = ((manifest.infohash_v1, metadata.infohash_v1), (manifest.infohash_v2, metadata.infohash_v2))
    known = [pinned == found for pinned, found in pairs if pinned and found]
    return bool(known) and all(known)


def lists_same_files(manifest: Manifest, metadata: Metadata) -> bool:
    """Whether a manifest that pins no torrent lists the same files, by their sizes."""
    if manifest.infohash_v1 or manifest.infohash_v2:
        return False
    sizes = {str(file.path): file.size for file in metadata.files}
    return all(file.size is not None and sizes.get(file.path) == file.size for file in manifest.files or ())


def fill_from_torrent(choice: ChosenManifest | None, metadata: Metadata) -> ChosenManifest:
    """The choice, with the torrent's own list of files where the manifest has none, or where there is no manifest."""
    files = tuple(ReleaseFile(path=str(file.path), size=file.size) for file in metadata.files)
    if choice is None:
        manifest = Manifest(
            format=1,
            name="unknown",
            title=metadata.name,
            publisher="unknown",
            licence="unknown",
            infohash_v1=metadata.infohash_v1 or None,
            infohash_v2=metadata.infohash_v2 or None,
            files=files,
        )
        return ChosenManifest(manifest, "the torrent that the link names; no manifest says whose it is", Voucher.LINK)
    if choice.manifest.files is None:
        return replace(choice, manifest=choice.manifest.model_copy(update={"files": files}))
    return choice
