"""Files of a release that lie in a folder cut into parts, as people upload what is too large for their host."""

from collections import defaultdict
from pathlib import Path

from magnetar.errors import CheckpointError
from magnetar.manifests.schema import Manifest


def find_parts(folder: Path, manifest: Manifest) -> dict[str, tuple[Path, ...]]:
    """The files of ``manifest`` of which only parts are there, each with its parts in order, where none is missing."""
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
        except CheckpointError:  # one of the parts is missing, and so is the file
            continue
    return parts
