"""Which folders hold a converted copy of a release, and not its own files. Going by what is there, and no note."""

from magnetar.convert.read.part_names import split_stem
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.folder.release_folder import ReleaseFolder

WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".gguf")


def is_copy(folder: ReleaseFolder, manifest: Manifest | None) -> bool:
    """Whether it is a single file, or holds other files of weights than the release.

    A file of the same size as one of the release's was renamed, and not converted; its parts were only cut.
    """
    if not folder.is_folder:
        return True
    if manifest is None or not manifest.files:
        return False
    published = {file.path: file.size for file in manifest.files if file.path.endswith(WEIGHTS)}
    if any((folder.root / path).exists() for path in published):
        return False
    if any(split_stem(name) in published for name in folder.names):
        return False
    sizes = [(folder.root / name).stat().st_size for name in folder.weights or _weights_by_content(folder)]
    return bool(sizes) and not set(sizes).intersection(published.values())


def _weights_by_content(folder: ReleaseFolder) -> list[str]:
    """The files that are weights by their first bytes, where none has the name of weights."""
    from magnetar.byte_source import LocalFolder
    from magnetar.convert.identify.find_sets import find_sets

    return [name for files in find_sets(LocalFolder(folder.root)) for name in files]
