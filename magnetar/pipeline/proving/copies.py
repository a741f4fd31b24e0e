"""Which folders hold a converted copy of a release, and not its own files."""

from pathlib import Path

from magnetar.manifests.catalog import catalog
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.folder.named_manifest import load_named
from magnetar.pipeline.folder.release_folder import ReleaseFolder

WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".gguf")


def is_copy(folder: ReleaseFolder, named: str | None) -> bool:
    """Whether it is a single file, notes a conversion, or holds other files of weights than the named release.

    A file of the same size as one of the release's was renamed, and not converted.
    """
    if not folder.is_folder or folder.conversion is not None:
        return True
    manifest = _named(named)
    listed = manifest.files or () if manifest else ()
    published = {file.path: file.size for file in listed if file.path.endswith(WEIGHTS)}
    if not published or any((folder.root / path).exists() for path in published):
        return False
    sizes = [(folder.root / name).stat().st_size for name in folder.names if name.endswith(WEIGHTS)]
    return bool(sizes) and not set(sizes).intersection(published.values())


def _named(named: str | None) -> Manifest | None:
    """The manifest that was named; None for a list of digests, and for what is neither."""
    if named is None:
        return None
    is_file = named.endswith(".toml") and Path(named).is_file()
    return load_named(named) if is_file or named in catalog() else None
