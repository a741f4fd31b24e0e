"""Choose the manifest that a folder is held against: the one that the user named, or the one that fits."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.folder.layout import OWN_MANIFEST
from magnetar.manifests.folder.origin import Origin
from magnetar.manifests.schema import Manifest, load_manifest


class Trust(StrEnum):
    """What a report without findings is worth: who says what the bytes should be."""

    RELEASE = "the release"
    """The catalog, a manifest that the user named, or a signer whom the user named."""
    UNDAMAGED = "undamaged"
    """Only the folder's own manifest, or the link. A hostile release can ship a manifest too."""
    WEAK = "weak"
    """Some file is proven by nothing better than MD5 or SHA-1."""


@dataclass(frozen=True, slots=True)
class ChosenManifest:
    """A manifest, the reason for the choice in words, and what a clean report is worth if all digests are strong."""

    manifest: Manifest
    reason: str
    trust: Trust


def choose_manifest(
    folder: Path, named: str | None, *, origin: Origin | None, published: Path | None
) -> ChosenManifest:
    """Choose the manifest to hold ``folder`` against. The first of these that exists is taken:

    1. the one that the user named: a release of the catalog, a manifest file, or a list of digests;
    2. the release that the folder was fetched as, by the infohashes in its note ``origin``;
    3. the one release of the catalog whose file names fit;
    4. ``published``, the manifest that was published beside the folder;
    5. the folder's own ``magnetar.toml``.

    Raises ``UsageError`` where there is none, or where several releases fit; ``ManifestError`` for one that is broken.
    """
    if named is not None:
        return _choose_named(folder, named)
    return _choose_fetched(origin) or _choose_fitting(folder) or _choose_published(published) or _choose_own(folder)


def _choose_named(folder: Path, named: str) -> ChosenManifest:
    path = Path(named)
    if (path.suffix == ".toml" or named not in catalog()) and path.is_file():
        inside = path.resolve().is_relative_to(folder.resolve())
        trust = Trust.UNDAMAGED if inside else Trust.RELEASE
        if path.suffix != ".toml":
            from magnetar.manifests.checksum_lists import load_list

            return ChosenManifest(load_list(path), f"the list of digests that was named, {path}", trust)
        return ChosenManifest(load_manifest(path), f"the manifest that was named, {path}", trust)
    if path.is_dir() and named not in catalog():
        raise UsageError(f"{path}: is a folder, and no manifest", hint="name the manifest in it: a .toml file")
    if path.suffix == ".toml":
        raise UsageError(f"{path}: there is no such manifest", hint="check the path, or name a release of the catalog")
    return ChosenManifest(find_release(named), "the release of the catalog that was named", Trust.RELEASE)


def _choose_fetched(origin: Origin | None) -> ChosenManifest | None:
    found = find_by_infohash(origin.infohash_v1, origin.infohash_v2) if origin else None
    return ChosenManifest(found, "the release that this folder was fetched as", Trust.RELEASE) if found else None


def _choose_fitting(folder: Path) -> ChosenManifest | None:
    fitting = [manifest for manifest in catalog().values() if _share_of_files(folder, manifest) >= 0.5]
    for agrees in (_has_a_file_of_that_size, _has_that_name):  # the releases of one publisher often share file names
        if len(fitting) > 1:
            fitting = [manifest for manifest in fitting if agrees(folder, manifest)] or fitting
    if len(fitting) > 1 and not (folder / OWN_MANIFEST).is_file():
        names = ", ".join(manifest.name for manifest in fitting)
        raise UsageError(f"{folder}: by its file names this could be {names}", hint="say which with --manifest NAME")
    if len(fitting) != 1:
        return None
    return ChosenManifest(fitting[0], "the release of the catalog whose file names fit", Trust.RELEASE)


def _share_of_files(folder: Path, manifest: Manifest) -> float:
    """The share of the release's files that the folder holds by name, 0 to 1."""
    files = manifest.files or ()
    return sum((folder / file.path).is_file() for file in files) / len(files) if files else 0.0


def _has_a_file_of_that_size(folder: Path, manifest: Manifest) -> bool:
    sized = [(folder / file.path, file.size) for file in manifest.files or () if file.size is not None]
    return any(path.is_file() and path.stat().st_size == size for path, size in sized)


def _has_that_name(folder: Path, manifest: Manifest) -> bool:
    return folder.resolve().name.lower() in {manifest.name, (manifest.folder or manifest.name).lower()}


def _choose_published(path: Path | None) -> ChosenManifest | None:
    reason = f"the manifest that was published beside the folder, {path}"
    return ChosenManifest(load_manifest(path), reason, Trust.UNDAMAGED) if path else None


def _choose_own(folder: Path) -> ChosenManifest:
    path = folder / OWN_MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder}: no release of the catalog fits, and the folder has no {OWN_MANIFEST}",
            hint="name what it should be: --manifest NAME or --manifest FILE",
        )
    return ChosenManifest(load_manifest(path), f"the folder's own {OWN_MANIFEST}", Trust.UNDAMAGED)
