"""TODO-DOC."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.write.journal import read_conversion
from magnetar.errors import CheckpointError, UsageError
from magnetar.files import STATE_FOLDER
from magnetar.manifests.catalog import catalog, find_release
from magnetar.manifests.checking.choose_manifest import ChosenManifest, Trust, choose_manifest
from magnetar.manifests.folder.layout import published_manifest
from magnetar.manifests.folder.origin import read_origin
from magnetar.manifests.schema import Manifest, ReleaseFile, load_manifest

if TYPE_CHECKING:  # verifying a folder that no torrent is involved in needs no libtorrent
    from magnetar.fetch.torrent.metadata import Metadata


WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".gguf")


def names_torrent(manifest: Manifest, metadata: "Metadata") -> bool:
    """Whether a manifest pins that very torrent: by each infohash that both have, and by one at least."""
    pairs = ((manifest.infohash_v1, metadata.infohash_v1), (manifest.infohash_v2, metadata.infohash_v2))
    known = [pinned == found for pinned, found in pairs if pinned and found]
    return bool(known) and all(known)


def find_parts(folder: Path, manifest: Manifest) -> dict[str, tuple[Path, ...]]:
    """The files of a release that lie in a folder cut into parts, with the parts in order, where none is missing."""
    missing = {file.path for file in manifest.files or () if not (folder / file.path).exists()}
    if not missing:
        return {}
    from magnetar.convert.read.part_names import find_split, split_stem

    found: dict[str, list[Path]] = defaultdict(list)
    for above in {(folder / path).parent for path in missing}:
        for part in above.iterdir() if above.is_dir() else ():
            whole = split_stem(part.name)
            path = (above / whole).relative_to(folder).as_posix() if whole else ""
            if path in missing:
                found[path].append(part)
    parts = {}
    for path, files in found.items():
        try:
            parts[path] = tuple((folder / path).parent / name for name in find_split(file.name for file in files))
        except CheckpointError:  # one of them is missing, and so is the file
            continue
    return parts


def choose_for(folder: Path, named: str | None = None) -> ChosenManifest:
    """The manifest to hold ``folder`` against, by the notes that the folder holds. Raises as ``choose_manifest``."""
    return choose_manifest(folder, named, origin=read_origin(folder), published=published_manifest(folder))


def _choose(folder: Path, named: str | None, torrent: bytes) -> ChosenManifest | None:
    """The manifest; None where there is none, but a torrent."""
    try:
        return choose_for(folder, named)
    except UsageError:
        if named is not None or not torrent:
            raise
        return None


def _kept_torrent(folder: Path) -> bytes:
    """The torrent that a folder was fetched or published by; empty if it remembers none."""
    if not (folder / STATE_FOLDER).is_dir():
        return b""
    from magnetar.fetch.download.state_folder import read_kept_torrent

    return read_kept_torrent(folder)


def _lists_the_same(manifest: Manifest, metadata: "Metadata") -> bool:
    """Whether a manifest that pins no torrent lists the same files, by their sizes."""
    if manifest.infohash_v1 or manifest.infohash_v2:
        return False
    sizes = {str(file.path): file.size for file in metadata.files}
    return all(file.size is not None and sizes.get(file.path) == file.size for file in manifest.files or ())


def _complete(choice: ChosenManifest | None, metadata: "Metadata") -> ChosenManifest:
    """The choice, with the torrent's own list of files where no manifest has one."""
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
        return ChosenManifest(
            manifest, "the torrent that the link names; no manifest says whose it is", Trust.UNDAMAGED
        )
    if choice.manifest.files is None:
        return replace(choice, manifest=choice.manifest.model_copy(update={"files": files}))
    return choice


def _is_converted(folder: Path, named: str | None) -> bool:
    """Whether it notes a conversion, or holds other files of weights than the release that was named."""
    if read_conversion(folder) is not None:
        return True
    manifest = _named_manifest(named)
    listed = manifest.files or () if manifest else ()
    published = {file.path: file.size for file in listed if file.path.endswith(WEIGHTS)}
    if not published or any((folder / path).exists() for path in published):
        return False
    found = [path.stat().st_size for path in folder.iterdir() if path.name.endswith(WEIGHTS) and path.is_file()]
    return bool(found) and not set(found).intersection(published.values())  # of the same size, it was renamed


def _named_manifest(named: str | None) -> Manifest | None:
    """The manifest that was named, by its file or by its release; None for a list of digests, or what is neither."""
    if named is None:
        return None
    if named.endswith(".toml") and Path(named).is_file():
        return load_manifest(Path(named))
    return find_release(named) if named in catalog() else None
