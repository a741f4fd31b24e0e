"""Which manifest a folder is held against when nobody says so."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.folder.layout import OWN_MANIFEST, published_manifest
from magnetar.manifests.folder.origin import read_origin
from magnetar.manifests.schema import Manifest, load_manifest


class Trust(StrEnum):
    """What a clean report is worth."""

    RELEASE = "the release"
    """The manifest comes from the catalog, from a file that the user named, or from a signer whom the user named."""
    UNDAMAGED = "undamaged"
    """Only the folder's own manifest says so, and a hostile release can ship one."""
    WEAK = "weak"
    """Only MD5 or SHA-1 stand behind a file."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A manifest, the words that say why it was taken, and the trust that follows if its digests are strong."""

    manifest: Manifest
    reason: str
    trust: Trust


def choose_manifest(folder: Path, named: str | None = None) -> Choice:
    """The manifest to hold ``folder`` against.

    In this order: the one that was named (a release of the catalog, a manifest, a list of digests); the release that
    the folder was fetched as; the one release of the catalog whose file names fit; what was published beside the
    folder; the folder's own. Raises ``UsageError`` where none is left or several are.
    """
    if named is not None:
        return _named(folder, named)
    return _fetched_as(folder) or _fits_by_names(folder) or _beside(folder) or _own(folder)


def _named(folder: Path, named: str) -> Choice:
    path = Path(named)
    if (path.suffix == ".toml" or named not in catalog()) and path.is_file():
        inside = path.resolve().is_relative_to(folder.resolve())
        trust = Trust.UNDAMAGED if inside else Trust.RELEASE
        if path.suffix != ".toml":
            from magnetar.manifests.checksum_lists import load_list

            return Choice(load_list(path), f"the list of digests that was named, {path}", trust)
        return Choice(load_manifest(path), f"the manifest that was named, {path}", trust)
    if path.is_dir() and named not in catalog():
        raise UsageError(f"{path}: is a folder, and no manifest", hint="name the manifest in it: a .toml file")
    if path.suffix == ".toml":
        raise UsageError(f"{path}: there is no such manifest", hint="check the path, or name a release of the catalog")
    return Choice(find_release(named), "the release of the catalog that was named", Trust.RELEASE)


def _fetched_as(folder: Path) -> Choice | None:
    origin = read_origin(folder)
    found = find_by_infohash(origin.infohash_v1, origin.infohash_v2) if origin else None
    return Choice(found, "the release that this folder was fetched as", Trust.RELEASE) if found else None


def _fits_by_names(folder: Path) -> Choice | None:
    fitting = [manifest for manifest in catalog().values() if _share_of_files(folder, manifest) >= 0.5]
    for narrower in (_a_size_agrees, _is_named_alike):
        if len(fitting) > 1:
            fitting = [manifest for manifest in fitting if narrower(folder, manifest)] or fitting
    if len(fitting) > 1 and not (folder / OWN_MANIFEST).is_file():
        names = ", ".join(manifest.name for manifest in fitting)
        raise UsageError(f"{folder}: by its file names this could be {names}", hint="say which with --manifest NAME")
    if len(fitting) != 1:
        return None
    return Choice(fitting[0], "the release of the catalog whose file names fit", Trust.RELEASE)


def _share_of_files(folder: Path, manifest: Manifest) -> float:
    """How many of the release's files are there by name, 0 to 1."""
    files = manifest.files or ()
    return sum((folder / file.path).is_file() for file in files) / len(files) if files else 0.0


def _a_size_agrees(folder: Path, manifest: Manifest) -> bool:
    sized = [(folder / file.path, file.size) for file in manifest.files or () if file.size is not None]
    return any(path.is_file() and path.stat().st_size == size for path, size in sized)


def _is_named_alike(folder: Path, manifest: Manifest) -> bool:
    return folder.resolve().name.lower() in {manifest.name, (manifest.folder or manifest.name).lower()}


def _beside(folder: Path) -> Choice | None:
    path = published_manifest(folder)
    reason = f"the manifest that was published beside the folder, {path}"
    return Choice(load_manifest(path), reason, Trust.UNDAMAGED) if path else None


def _own(folder: Path) -> Choice:
    path = folder / OWN_MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder}: no release of the catalog fits, and the folder has no {OWN_MANIFEST}",
            hint="name what it should be: --manifest NAME or --manifest FILE",
        )
    return Choice(load_manifest(path), f"the folder's own {OWN_MANIFEST}", Trust.UNDAMAGED)
