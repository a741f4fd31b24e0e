"""Which files of a folder are the weights, and belong together. Told by names; what they are, by their first bytes."""

import re
from collections.abc import Iterable
from pathlib import Path

from magnetar.convert.formats.detect import INDEX_SUFFIXES
from magnetar.convert.formats.grok import FILE as GROK_FILE
from magnetar.convert.read.part_names import find_split, split_stem
from magnetar.errors import CheckpointError, UsageError
from magnetar.files import disk_failure

PUBLISHED_SUFFIXES = (".pth", ".pt", ".safetensors")
GGUF_SUFFIX = ".gguf"
WEIGHTS = re.compile(r"[^/]+\.(pth|pt|bin|ckpt|safetensors|gguf|npz)([-.][^/]*)?(?<!\.json)")
SPLIT_GGUF = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def find_files(path: Path) -> tuple[Path, tuple[Path, ...]]:
    """The folder, and the files of weights in it, or those that belong to the file named.

    Raises ``UsageError`` (no such path, or several checkpoints in one folder), ``CheckpointError`` (no weights, or
    only some of them) or ``DiskError``.
    """
    try:
        return _find_files(path)
    except OSError as error:
        raise disk_failure(error, path) from error


def name_weights(names: Iterable[str]) -> list[str]:
    """Which files of a folder that holds such files are likely to be its weights, with all their parts and shards."""
    found = [name for name in names if WEIGHTS.fullmatch(name) or GROK_FILE.fullmatch(name)]
    found = [name for name in found if name.startswith("consolidated")] or found
    return [name for name in found if ".safetensors" in name] or found


def is_published(files: Iterable[Path]) -> bool:
    """Whether these are files as a publisher names them, who puts params.json beside."""
    return any(path.suffix in (".pth", ".pt") or path.name.startswith("consolidated") for path in files)


def is_gguf(files: Iterable[Path]) -> bool:
    """Whether these files state their configuration themselves."""
    return all(path.suffix == GGUF_SUFFIX for path in files)


def _find_files(path: Path) -> tuple[Path, tuple[Path, ...]]:
    if path.is_file():
        return path.parent, _complete(path)
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such file or folder", hint="check the path")
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    chosen = (
        [name for name in names if GROK_FILE.fullmatch(name)]
        or find_split(names)
        or _published(names)
        or _for_transformers(names)
        or _for_llama_cpp(path, names)
    )
    if not chosen:
        raise CheckpointError(
            f"{path}: holds no weights{'; it is empty' if not any(path.iterdir()) else ''}",
            hint="looked for consolidated.*.pth, consolidated.safetensors, model.safetensors, an index of shards, and "
            "*.gguf" + _point_below(path),
        )
    return path, tuple(path / name for name in chosen) if len(chosen) > 1 else _complete(path / chosen[0])


def _published(names: Iterable[str]) -> list[str]:
    """The publisher's files. Of two containers with the same tensors, the one that cannot hold code."""
    found = [name for name in names if name.startswith("consolidated") and name.endswith(PUBLISHED_SUFFIXES)]
    return [name for name in found if name.endswith(".safetensors")] or found


def _for_transformers(names: Iterable[str]) -> list[str]:
    found = list(names)
    safetensors, pickles = INDEX_SUFFIXES
    for chosen in ("model" + safetensors, "model.safetensors", "pytorch_model" + pickles, "pytorch_model.bin"):
        if chosen in found:
            return [chosen]
    return []


def _for_llama_cpp(folder: Path, names: Iterable[str]) -> list[str]:
    """The one GGUF file; of several, they must be the parts of one."""
    found = [name for name in names if name.endswith(GGUF_SUFFIX)]
    stems = {match[1] if (match := SPLIT_GGUF.fullmatch(name)) else name for name in found}
    if len(stems) > 1:
        raise UsageError(f"{folder}: holds several models: {', '.join(found[:4])}", hint="name one of the files")
    return found[:1]


def _complete(path: Path) -> tuple[Path, ...]:
    """All parts of the file of which one is named; any other file by itself."""
    if split_stem(path.name):
        return tuple(path.with_name(name) for name in find_split([entry.name for entry in path.parent.iterdir()]))
    match = SPLIT_GGUF.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match[3])
    parts = tuple(path.with_name(f"{match[1]}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1))
    for part in parts:
        if not part.is_file():
            raise CheckpointError(f"{path.name}: its part {part.name} is missing", hint="fetch the release again")
    return parts


def _point_below(path: Path) -> str:
    """Where there is a checkpoint one folder down, say so."""
    for below in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        names = sorted(entry.name for entry in below.iterdir())
        if _published(names) or _for_transformers(names):
            return f"; {below.name}/ holds some"
    return ""
