"""Choose the manifest that a folder is held against: the one that the user named, or the one that fits."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release, side_files_folder
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.folder.layout import OWN_MANIFEST
from magnetar.manifests.folder.origin import Origin
from magnetar.manifests.schema import Manifest, load_manifest

Infohashes = tuple[str, str]
"""Those of version 1 and version 2 of a torrent, lower-case hex; empty where it has none."""


@dataclass(frozen=True, slots=True)
class ChosenManifest:
    """A manifest, the reason for the choice in words, and by whose word it holds.

    ``path`` is the file that the manifest lies in; None for a release of the catalog, and for a torrent's own list.
    """

    manifest: Manifest
    reason: str
    voucher: Voucher
    path: Path | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the file that the manifest lies in; empty if there is none, or it cannot be read."""
        path = self.path or side_files_folder(self.manifest.name) / f"{self.manifest.name}.toml"
        try:
            return sha256(path.read_bytes()).hexdigest()
        except OSError:
            return ""

    @property
    def side_files(self) -> Path:
        """The folder of the files that the manifest names, such as the digests of its tensors."""
        return self.path.parent if self.path else side_files_folder(self.manifest.name)


def choose_manifest(
    folder: Path,
    named: str | None,
    *,
    origin: Origin | None,
    published: Path | None,
    kept: Callable[[], Infohashes] = lambda: ("", ""),
) -> ChosenManifest:
    """Choose the manifest to hold ``folder`` against. The first of these that exists is taken:

    1. the one that the user named: a release of the catalog, a manifest file, or a list of digests;
    2. the one release of the catalog that fits by file names and by the size of its largest file;
    3. the release of the catalog that the note ``origin`` names by its infohashes, if every file can be held against
       it: by digests, or by the torrent whose infohashes ``kept`` gives;
    4. the one release of the catalog that fits by file names. Of several, the one that ``origin`` names;
    5. the release of the catalog that ``origin`` names;
    6. ``published``, the manifest that was published beside the folder;
    7. the folder's own ``magnetar.toml``.

    Whoever made the folder wrote the note too. So it never leads from a release that the folder differs from to one
    that cannot tell. Raises ``UsageError`` where there is none, or where several releases fit; ``ManifestError`` for
    one that is broken.
    """
    if named is not None:
        return _choose_named(folder, named)
    fetched = find_by_infohash(origin.infohash_v1, origin.infohash_v2) if origin else None
    fitting = choose_by_size(folder)
    if fitting is not None:
        return fitting
    if fetched is not None and _can_decide(fetched, kept):
        return _fetched_as(fetched)
    return (
        _choose_fitting(folder, fetched)
        or (_fetched_as(fetched) if fetched else None)
        or _choose_published(published)
        or _choose_own(folder)
    )


def choose_by_size(folder: Path) -> ChosenManifest | None:
    """The one release of the catalog that fits by file names and by the size of its largest file; None if none does."""
    fitting = [manifest for manifest in _fitting_by_name(folder) if _has_the_largest_file(folder, manifest)]
    if len(fitting) != 1:
        return None
    return ChosenManifest(fitting[0], "the release of the catalog whose files fit", Voucher.CATALOG)


def _choose_named(folder: Path, named: str) -> ChosenManifest:
    path = Path(named)
    if (path.suffix == ".toml" or named not in catalog()) and path.is_file():
        inside = path.resolve().is_relative_to(folder.resolve())
        voucher = Voucher.FOLDER if inside else Voucher.MANIFEST
        if path.suffix != ".toml":
            from magnetar.manifests.checksum_lists import load_list

            return ChosenManifest(load_list(path), f"the list of digests that was named, {path}", voucher, path)
        return ChosenManifest(load_manifest(path), f"the manifest that was named, {path}", voucher, path)
    if path.is_dir() and named not in catalog():
        raise UsageError(f"{path}: is a folder, and no manifest", hint="name the manifest in it: a .toml file")
    if path.suffix == ".toml":
        raise UsageError(f"{path}: there is no such manifest", hint="check the path, or name a release of the catalog")
    return ChosenManifest(find_release(named), "the release of the catalog that was named", Voucher.CATALOG)


def _fetched_as(found: Manifest) -> ChosenManifest:
    return ChosenManifest(found, "the release that this folder was fetched as", Voucher.CATALOG)


def _can_decide(manifest: Manifest, kept: Callable[[], Infohashes]) -> bool:
    """Whether each file of the release can be told from any other: by digests, or by the pieces of its torrent."""
    if manifest.files and all(file.digests for file in manifest.files):
        return True
    v1, v2 = kept()
    return bool((v1 and v1 == manifest.infohash_v1) or (v2 and v2 == manifest.infohash_v2))


def _fitting_by_name(folder: Path) -> list[Manifest]:
    return [manifest for manifest in catalog().values() if _share_of_files(folder, manifest) >= 0.5]


def _choose_fitting(folder: Path, fetched: Manifest | None) -> ChosenManifest | None:
    fitting = _fitting_by_name(folder)
    for agrees in (
        _has_the_largest_file,
        _has_a_file_of_that_size,
        _has_that_name,
    ):  # the releases of one publisher often share file names
        if len(fitting) > 1:
            fitting = [manifest for manifest in fitting if agrees(folder, manifest)] or fitting
    if len(fitting) > 1 and fetched in fitting:
        return _fetched_as(fetched)
    if len(fitting) > 1 and not (folder / OWN_MANIFEST).is_file():
        names = ", ".join(manifest.name for manifest in fitting)
        raise UsageError(f"{folder}: by its file names this could be {names}", hint="say which with --manifest NAME")
    if len(fitting) != 1:
        return None
    return ChosenManifest(fitting[0], "the release of the catalog whose file names fit", Voucher.CATALOG)


def _is_file(path: Path) -> bool:
    """Whether it is a file. One that nobody may look at is none here; the verification tells why."""
    try:
        return path.is_file()
    except OSError:
        return False


def _share_of_files(folder: Path, manifest: Manifest) -> float:
    """The share of the release's files that the folder holds by name, 0 to 1."""
    files = manifest.files or ()
    return sum(_is_file(folder / file.path) for file in files) / len(files) if files else 0.0


def _has_the_largest_file(folder: Path, manifest: Manifest) -> bool:
    """Whether the largest file whose size is known is here in that size."""
    sized = {file.path: file.size for file in manifest.files or () if file.size}
    largest = max(sized, key=lambda path: sized[path], default="")
    path = folder / largest
    return bool(largest) and _is_file(path) and path.stat().st_size == sized[largest]


def _has_a_file_of_that_size(folder: Path, manifest: Manifest) -> bool:
    sized = [(folder / file.path, file.size) for file in manifest.files or () if file.size is not None]
    return any(_is_file(path) and path.stat().st_size == size for path, size in sized)


def _has_that_name(folder: Path, manifest: Manifest) -> bool:
    return folder.resolve().name.lower() in {manifest.name, (manifest.folder or manifest.name).lower()}


def _choose_published(path: Path | None) -> ChosenManifest | None:
    reason = f"the manifest that was published beside the folder, {path}"
    return ChosenManifest(load_manifest(path), reason, Voucher.FOLDER, path) if path else None


def _choose_own(folder: Path) -> ChosenManifest:
    path = folder / OWN_MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder}: no release of the catalog fits, and the folder has no {OWN_MANIFEST}",
            hint="name what it should be: --manifest NAME or --manifest FILE",
        )
    return ChosenManifest(load_manifest(path), f"the folder's own {OWN_MANIFEST}", Voucher.FOLDER, path)
