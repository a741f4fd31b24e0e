"""A manifest that was named: a release of the catalog, or a file."""

from pathlib import Path

from magnetar.manifests.catalog import catalog, find_release
from magnetar.manifests.schema import Manifest, load_manifest


def load_named(named: str) -> Manifest:
    """A release of the catalog, or a manifest file. Raises ``UsageError`` or ``ManifestError``."""
    if is_manifest_file(named):
        return load_manifest(Path(named))
    return find_release(named)


def is_manifest_file(named: str) -> bool:
    """Whether ``named`` is a file, and no release of the catalog."""
    return named not in catalog() and Path(named).is_file()
