"""The small files of a release that its manifest holds whole."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import Manifest


def small_files(manifest: Manifest) -> Mapping[str, bytes]:
    """Their contents by path. The schema has held each against its size and its digests."""
    return {file.path: content for file in manifest.files or () if (content := file.held) is not None}


def digests_beside(manifest: Manifest, folder: str = "") -> Mapping[str, tuple[Digest, ...]] | None:
    """The digests of the files in one folder of the release, by base name; None if the files are not known."""
    if manifest.files is None:
        return None
    paths = ((PurePosixPath(file.path), file.digests) for file in manifest.files)
    return {path.name: digests for path, digests in paths if str(path.parent) == (folder or ".")}
