"""What to convert or boot: a folder or a file, with its weights, its architecture and its layout, held together."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from magnetar.convert.architecture import Architecture
from magnetar.convert.checkpoint import Checkpoint
from magnetar.convert.containers import INDEX_SUFFIX, open_file, open_files, open_index, read_document
from magnetar.convert.layouts import check_tensors, detect_layout, find_layout
from magnetar.errors import CheckpointError, LayoutError, UsageError
from magnetar.files import disk_failure

PUBLISHED_SUFFIXES = (".pth", ".pt", ".safetensors")
PARAMS, CONFIG = "params.json", "config.json"
TOKENIZER = "tokenizer.model"
AS_IS = "as it is"
"""In the place of a layout: names and arrangement are not asked for."""


@dataclass(frozen=True, slots=True)
class Source:
    """An opened checkpoint whose names and shapes are those of its architecture in its layout.

    ``reason`` says why that layout; ``files`` are the weights; ``tokenizer`` is the SentencePiece model beside them.
    ``stated`` is the architecture; None only where the layout is ``AS_IS``.
    """

    folder: Path
    files: tuple[Path, ...]
    checkpoint: Checkpoint
    stated: Architecture | None
    layout: str
    reason: str
    tokenizer: Path | None

    @property
    def architecture(self) -> Architecture:
        """The sizes of the model. Raises ``LayoutError`` if they were not asked for."""
        if self.stated is None:
            raise LayoutError(f"{self.folder}: was opened without its configuration")
        return self.stated

    def close(self) -> None:
        self.checkpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def open_source(path: Path, *, from_layout: str | None = None) -> Source:
    """Open a release folder (publisher's or transformers' form) or one checkpoint file with its configuration beside.

    Every name and shape is held against the configuration before this returns; no tensor is read.
    Raises ``UsageError`` (no such path), ``CheckpointError``, ``UnsafePickle``, ``LayoutError`` or ``DiskError``.
    """
    folder, files = _find_files(path)
    architecture, stated_in = _read_architecture(folder, files)
    checkpoint = _open(files)
    try:
        return _hold_together(folder, files, checkpoint, architecture, stated_in, from_layout)
    except BaseException:
        checkpoint.close()
        raise


def open_as_it_is(path: Path) -> Source:
    """Open any weights, of any model, to be kept as they are. Raises what ``open_checkpoint`` raises."""
    folder, files = _find_files(path)
    return Source(folder, files, _open(files), None, AS_IS, "its names are kept", _find_tokenizer(folder))


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the weights at ``path``, a folder or a file, with no configuration: to list them.

    Raises what ``open_source`` raises, but not ``LayoutError``.
    """
    return _open(_find_files(path)[1])


def _hold_together(
    folder: Path,
    files: tuple[Path, ...],
    checkpoint: Checkpoint,
    architecture: Architecture,
    stated_in: Path,
    from_layout: str | None,
) -> Source:
    if from_layout is None:
        layout, reason = detect_layout(checkpoint.specs)
    else:
        layout, reason = find_layout(from_layout), "it was asked for"
    shapes = {spec.name: spec.shape for spec in checkpoint.specs.values()}
    check_tensors(layout, architecture, shapes, stated_in.name)
    return Source(folder, files, checkpoint, architecture, layout.name, reason, _find_tokenizer(folder))


def _find_tokenizer(folder: Path) -> Path | None:
    tokenizer = folder / TOKENIZER
    return tokenizer if tokenizer.is_file() else None


def _find_files(path: Path) -> tuple[Path, tuple[Path, ...]]:
    """The folder, and the files of weights in it that belong together."""
    try:
        return _look_for_files(path)
    except OSError as error:
        raise disk_failure(error, path) from error


def _look_for_files(path: Path) -> tuple[Path, tuple[Path, ...]]:
    if path.is_file():
        return path.parent, (path,)
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such file or folder", hint="check the path")
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    chosen = _published(names) or _for_transformers(names)
    if not chosen:
        raise CheckpointError(
            f"{path}: holds no weights{'; it is empty' if not any(path.iterdir()) else ''}",
            hint="looked for consolidated.*.pth, consolidated.safetensors, model.safetensors and an index of shards"
            + _point_below(path),
        )
    return path, tuple(path / name for name in chosen)


def _published(names: Iterable[str]) -> list[str]:
    """The publisher's files. Of two containers with the same tensors, the one that cannot hold code."""
    found = [name for name in names if name.startswith("consolidated") and name.endswith(PUBLISHED_SUFFIXES)]
    return [name for name in found if name.endswith(".safetensors")] or found


def _for_transformers(names: Iterable[str]) -> list[str]:
    found = list(names)
    for chosen in ("model" + INDEX_SUFFIX, "model.safetensors", "pytorch_model.bin"):
        if chosen in found:
            return [chosen]
    return []


def _point_below(path: Path) -> str:
    """Where there is a checkpoint one folder down, say so."""
    for below in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        names = sorted(entry.name for entry in below.iterdir())
        if _published(names) or _for_transformers(names):
            return f"; {below.name}/ holds some"
    return ""


def _open(files: tuple[Path, ...]) -> Checkpoint:
    if len(files) > 1:
        return open_files(files)
    return open_index(files[0]) if files[0].name.endswith(INDEX_SUFFIX) else open_file(files[0])


def _read_architecture(folder: Path, files: tuple[Path, ...]) -> tuple[Architecture, Path]:
    """The architecture, and the file that states it: the one that goes with such weights first."""
    published = bool(_published(path.name for path in files)) or files[0].suffix in (".pth", ".pt")
    readers = [(PARAMS, Architecture.from_params), (CONFIG, Architecture.from_config)]
    for name, read in readers if published else reversed(readers):
        if (folder / name).is_file():
            return read(read_document(folder / name)), folder / name
    raise LayoutError(
        f"{folder}: neither params.json nor config.json is beside the weights, so their shapes cannot be checked",
        hint="put the release's params.json beside them",
    )
