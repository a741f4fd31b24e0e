"""What to convert or boot: a folder or a file, with its weights, its architecture and its layout, held together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_file, open_files, open_joined, read_document
from magnetar.convert.formats.grok import is_grok, open_grok
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.gguf_architecture import read_architecture
from magnetar.convert.layout.tables import check_tensors, detect_layout, find_layout
from magnetar.convert.read.find_weights import find_files, is_gguf, is_published
from magnetar.convert.read.part_names import split_stem
from magnetar.errors import LayoutError

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


def open_source(path: Path, *, from_layout: str | None = None, kind: type[LocalFile] = LocalFile) -> Source:
    """Open a release folder (publisher's or transformers' form) or one checkpoint file with its configuration beside.

    Every name and shape is held against the configuration before this returns; no tensor is read. ``kind`` is how the
    files of weights will be.
    Raises ``UsageError`` (no such path), ``CheckpointError``, ``UnsafePickle``, ``LayoutError`` or ``DiskError``.
    """
    folder, files = find_files(path)
    if is_grok(files):
        raise LayoutError(
            f"{folder}: Grok-1 is of another family than those that can be rearranged",
            hint="convert it with its own names: --to safetensors",
        )
    if not is_gguf(files):
        _find_configuration(folder, files)  # said before a large file is looked at
    checkpoint = _open(files, kind)
    try:
        architecture, stated_in = _read_architecture(folder, files, checkpoint)
        return _hold_together(folder, files, checkpoint, architecture, stated_in, from_layout)
    except BaseException:
        checkpoint.close()
        raise


def open_as_it_is(path: Path) -> Source:
    """Open any weights, of any model, to be kept as they are. Raises what ``open_checkpoint`` raises."""
    folder, files = find_files(path)
    return Source(folder, files, _open(files), None, AS_IS, "its names are kept", _find_tokenizer(folder))


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the weights at ``path``, a folder or a file, with no configuration: to list them.

    Raises what ``open_source`` raises, but not ``LayoutError``.
    """
    return _open(find_files(path)[1])


def _hold_together(
    folder: Path,
    files: tuple[Path, ...],
    checkpoint: Checkpoint,
    architecture: Architecture,
    stated_in: str,
    from_layout: str | None,
) -> Source:
    if from_layout is None:
        layout, reason = detect_layout(checkpoint.specs)
    else:
        layout, reason = find_layout(from_layout), "it was asked for"
    shapes = {spec.name: spec.shape for spec in checkpoint.specs.values()}
    check_tensors(layout, architecture, shapes, stated_in)
    return Source(folder, files, checkpoint, architecture, layout.name, reason, _find_tokenizer(folder))


def _find_tokenizer(folder: Path) -> Path | None:
    tokenizer = folder / TOKENIZER
    return tokenizer if tokenizer.is_file() else None


def _open(files: tuple[Path, ...], kind: type[LocalFile] = LocalFile) -> Checkpoint:
    if is_grok(files):
        return open_grok(files)
    stem = split_stem(files[0].name)
    if stem:
        return open_joined(files, stem, kind)
    return open_files(files, kind) if len(files) > 1 else open_file(files[0], kind)


def _read_architecture(folder: Path, files: tuple[Path, ...], checkpoint: Checkpoint) -> tuple[Architecture, str]:
    """The architecture, and what states it: a GGUF file itself, or the configuration beside other weights."""
    if is_gguf(files):
        return read_architecture(checkpoint.metadata, files[0].name), files[0].name
    path = _find_configuration(folder, files)
    read = Architecture.from_params if path.name == PARAMS else Architecture.from_config
    return read(read_document(path)), path.name


def _find_configuration(folder: Path, files: tuple[Path, ...]) -> Path:
    """The configuration beside the weights: of two, the one that goes with such files."""
    names = (PARAMS, CONFIG) if is_published(files) else (CONFIG, PARAMS)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise LayoutError(
        f"{folder}: neither params.json nor config.json is beside the weights, so their shapes cannot be checked",
        hint="put the release's params.json beside them",
    )
