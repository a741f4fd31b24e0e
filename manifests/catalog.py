"""The releases that Magnetar knows: the ``*.toml`` beside this module, and those that the user added."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType

from magnetar.errors import UsageError
from magnetar.manifests.schema import Manifest, load_manifest
from magnetar.manifests.user_catalog import user_folder, user_releases

CATALOG_FOLDER = Path(__file__).parent


@cache
def bundled_releases() -> Mapping[str, Manifest]:
    """Every release that ships with Magnetar, in the order of names."""
    loaded = [load_manifest(path) for path in sorted(CATALOG_FOLDER.glob("*.toml"))]
    return MappingProxyType({manifest.name: manifest for manifest in loaded})


def catalog() -> Mapping[str, Manifest]:
    """Every release by its name: the bundled ones, then the user's. A user's entry never replaces a bundled one."""
    bundled = bundled_releases()
    added = {name: manifest for name, manifest in user_releases().items() if name not in bundled}
    return MappingProxyType({**bundled, **added})


def side_files_folder(name: str) -> Path:
    """The folder that holds the side files (``NAME.tensors.json``) of a release of the catalog."""
    return CATALOG_FOLDER if name in bundled_releases() else user_folder()


def find_release(name: str) -> Manifest:
    """The release of that name. Raises ``UsageError``, with the nearest names as the hint."""
    found = catalog().get(name.lower())
    if found is None:
        near = get_close_matches(name.lower(), catalog(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "`magnetar catalog` lists the releases"
        raise UsageError(f"the catalog has no release named {name!r}", hint=hint)
    return found


def find_by_infohash(v1: str, v2: str) -> Manifest | None:
    """The release of the catalog that one of these infohashes (lower-case hex, or empty) names."""
    for manifest in catalog().values():
        if (v1 and v1 == manifest.infohash_v1) or (v2 and v2 == manifest.infohash_v2):
            return manifest
    return None
