"""Which files of a folder are the weights, and belong together. Only names are looked at."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from magnetar.byte_source import FileOpener, LocalFile, LocalFolder, SourceFolder
from magnetar.convert.formats.detect import INDEX_SUFFIXES
from magnetar.convert.formats.grok import FILE as GROK_FILE
from magnetar.convert.read.part_names import find_split, split_stem
from magnetar.errors import CheckpointError, UsageError
from magnetar.files import disk_failure

PUBLISHED_SUFFIXES = (".pth", ".pt", ".safetensors")
GGUF_SUFFIX = ".gguf"
WEIGHTS = re.compile(r"[^/]+\.(pth|pt|bin|ckpt|safetensors|gguf|npz)([-.][^/]*)?(?<!\.json)")
SPLIT_GGUF = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def find_files(path: Path, open_file: FileOpener = LocalFile) -> tuple[LocalFolder, tuple[str, ...]]:
    """The folder at or around ``path``, and the names of the weights: those in it, or those that belong to the file.

    ``open_file`` is how the folder will open its files. Raises what ``find_weights`` raises, and ``UsageError`` if
    there is no such path.
    """
    try:
        if path.is_file():
            folder = LocalFolder(path.parent, open_file)
            return folder, complete_parts(folder, path.name)
        if not path.is_dir():
            raise UsageError(f"{path}: there is no such file or folder", hint="check the path")
        folder = LocalFolder(path, open_file)
        inner = [LocalFolder(entry) for entry in sorted(path.iterdir()) if entry.is_dir()]
        return folder, find_weights(folder, inner)
    except OSError as error:
        raise disk_failure(error, path) from error


def find_weights(folder: SourceFolder, inner: Sequence[SourceFolder] = ()) -> tuple[str, ...]:
    """The names of the weights in a folder. Where there are none, the hint points at an ``inner`` folder with some.

    Raises ``UsageError`` if the folder holds several checkpoints, ``CheckpointError`` if it holds no weights or only
    some of them, or ``OutsideError``.
    """
    names = sorted(folder.sizes)
    chosen = (
        [name for name in names if GROK_FILE.fullmatch(name)]
        or find_split(names)
        or _choose_published(names)
        or _choose_for_transformers(names)
        or _choose_gguf(folder, names)
    )
    if not chosen:
        raise CheckpointError(
            f"{folder}: holds no weights{'; it is empty' if not names and not inner else ''}",
            hint="looked for consolidated.*.pth, consolidated.safetensors, model.safetensors, an index of shards, and "
            "*.gguf" + _point_to(inner),
        )
    return tuple(chosen) if len(chosen) > 1 else complete_parts(folder, chosen[0])


def complete_parts(folder: SourceFolder, name: str) -> tuple[str, ...]:
    """All parts of the split file that ``name`` is a part of, in order; of any other file just its name.

    Raises ``CheckpointError`` naming a part that is missing.
    """
    if split_stem(name):
        return tuple(find_split(folder.sizes))
    match = SPLIT_GGUF.fullmatch(name)
    if match is None:
        return (name,)
    count = int(match[3])
    parts = tuple(f"{match[1]}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))
    for part in parts:
        if part not in folder.sizes:
            raise CheckpointError(
                f"{name}: its part {part} is missing", hint="fetch the release again", path=Path(part)
            )
    return parts


def name_weights(names: Iterable[str]) -> list[str]:
    """Which of the names of a folder's files are likely to be weights, with all their parts and shards."""
    found = [name for name in names if WEIGHTS.fullmatch(name) or GROK_FILE.fullmatch(name)]
    found = [name for name in found if name.startswith("consolidated")] or found
    return [name for name in found if ".safetensors" in name] or found


def is_published(names: Iterable[str]) -> bool:
    """Whether these are files as a publisher names them, who puts params.json beside."""
    return any(PurePath(name).suffix in (".pth", ".pt") or name.startswith("consolidated") for name in names)


def is_gguf(names: Iterable[str]) -> bool:
    """Whether these files state their configuration themselves."""
    return all(PurePath(name).suffix == GGUF_SUFFIX for name in names)


def _choose_published(names: Iterable[str]) -> list[str]:
    """The publisher's files. Of two containers with the same tensors, the one that cannot hold code."""
    found = [name for name in names if name.startswith("consolidated") and name.endswith(PUBLISHED_SUFFIXES)]
    return [name for name in found if name.endswith(".safetensors")] or found


def _choose_for_transformers(names: Iterable[str]) -> list[str]:
    found = list(names)
    safetensors, pickles = INDEX_SUFFIXES
    for chosen in ("model" + safetensors, "model.safetensors", "pytorch_model" + pickles, "pytorch_model.bin"):
        if chosen in found:
            return [chosen]
    return []


def _choose_gguf(folder: SourceFolder, names: Iterable[str]) -> list[str]:
    """The one GGUF file, or the first of several that are the parts of one. Raises ``UsageError`` for other ones."""
    found = [name for name in names if name.endswith(GGUF_SUFFIX)]
    stems = {match[1] if (match := SPLIT_GGUF.fullmatch(name)) else name for name in found}
    if len(stems) > 1:
        raise UsageError(f"{folder}: holds several models: {', '.join(found[:4])}", hint="name one of the files")
    return found[:1]


def _point_to(folders: Iterable[SourceFolder]) -> str:
    """The end of the hint where a folder inside holds a checkpoint."""
    for folder in folders:
        names = sorted(folder.sizes)
        if _choose_published(names) or _choose_for_transformers(names):
            return f"; {folder.name}/ holds some"
    return ""
