"""Open the weights of a release: find them, read their architecture, tell their layout, check every name and shape."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from magnetar.byte_source import FileOpener, LocalFile, SourceFolder, closing_on_error, read_file
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_file, open_files, open_joined, read_document
from magnetar.convert.formats.grok import is_grok, open_grok
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.gguf_architecture import read_architecture as read_gguf_architecture
from magnetar.convert.layout.tables import check_tensors, detect_layout, find_layout
from magnetar.convert.read.find_weights import find_files, find_weights, is_gguf, is_published
from magnetar.convert.read.part_names import split_stem
from magnetar.errors import LayoutError

PARAMS, CONFIG = "params.json", "config.json"
TOKENIZER = "tokenizer.model"
AS_IS = "as it is"
"""In the place of a layout: the names and the arrangement of the tensors are kept, whatever they are."""


@dataclass(frozen=True, slots=True)
class CheckpointSource:
    """An opened checkpoint whose names and shapes are those of its architecture in its layout.

    ``files`` are the names of the weights in ``folder``. ``stated`` is the architecture; None only where the layout is
    ``AS_IS``. ``layout`` is a name, and ``reason`` says why it is that one. ``path`` is the folder on this machine,
    None where the weights lie elsewhere.
    """

    folder: SourceFolder
    files: tuple[str, ...]
    checkpoint: Checkpoint
    stated: Architecture | None
    layout: str
    reason: str
    path: Path | None = None

    @property
    def architecture(self) -> Architecture:
        """The sizes of the model. Raises ``LayoutError`` if it was opened without them."""
        if self.stated is None:
            raise LayoutError(f"{self.folder}: was opened without its configuration")
        return self.stated

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of weights on this machine; none where the weights lie elsewhere."""
        return tuple(self.path / name for name in self.files) if self.path else ()

    @property
    def has_tokenizer(self) -> bool:
        """Whether a SentencePiece model lies beside the weights."""
        return TOKENIZER in self.folder.sizes

    def read_tokenizer(self) -> bytes:
        """The bytes of ``tokenizer.model``. Raises ``UsageError`` if there is none, or ``OutsideError``."""
        return read_file(self.folder, TOKENIZER)

    def close(self) -> None:
        self.checkpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def open_source(path: Path, *, from_layout: str | None = None, open_file: FileOpener = LocalFile) -> CheckpointSource:
    """Open a release's folder on this machine, or one checkpoint file with its configuration beside it.

    ``open_file`` is how its files are opened. Raises what ``open_folder`` raises, and ``UsageError`` if there is no
    such path.
    """
    folder, files = find_files(path, open_file)
    return open_folder(folder, files, from_layout=from_layout, path=folder.path)


def open_folder(
    folder: SourceFolder,
    files: tuple[str, ...] = (),
    *,
    from_layout: str | None = None,
    path: Path | None = None,
) -> CheckpointSource:
    """Open the weights in a folder, in the publisher's form or that of transformers or llama.cpp.

    ``files`` are the names of the weights; empty: they are looked for. ``from_layout`` insists on a layout.
    Every name and shape is held against the configuration before this returns; no tensor is read.
    Raises ``CheckpointError``, ``UnsafePickle``, ``LayoutError``, ``UsageError`` (several checkpoints in the folder)
    or ``OutsideError``.
    """
    files = files or find_weights(folder)
    if is_grok(files):
        raise LayoutError(
            f"{folder}: Grok-1 is of another family than those that can be rearranged",
            hint="convert it with its own names: --to safetensors",
        )
    if not is_gguf(files):
        _find_configuration(folder, files)  # a missing configuration is reported before a large file is looked at
    checkpoint = open_files_of_set(folder, files)
    with closing_on_error([checkpoint]):
        architecture, stated_in = read_architecture(folder, files, checkpoint)
        if from_layout is None:
            layout, reason = detect_layout(checkpoint.specs)
        else:
            layout, reason = find_layout(from_layout), "it was asked for"
        shapes = {spec.name: spec.shape for spec in checkpoint.specs.values()}
        check_tensors(layout, architecture, shapes, stated_in)
        return CheckpointSource(folder, files, checkpoint, architecture, layout.name, reason, path)


def open_as_it_is(path: Path) -> CheckpointSource:
    """Open any weights, of any model, to be kept as they are. Raises what ``open_checkpoint`` raises."""
    folder, files = find_files(path)
    return keep_as_it_is(folder, files, open_files_of_set(folder, files), folder.path)


def keep_as_it_is(
    folder: SourceFolder, files: tuple[str, ...], checkpoint: Checkpoint, path: Path | None = None
) -> CheckpointSource:
    """An opened checkpoint as a source whose names and arrangement are kept."""
    return CheckpointSource(folder, files, checkpoint, None, AS_IS, "its names are kept", path)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the weights at ``path``, a folder or a file, with no configuration: to list them.

    Raises what ``open_source`` raises, but not ``LayoutError``.
    """
    return open_files_of_set(*find_files(path))


def open_files_of_set(folder: SourceFolder, files: tuple[str, ...]) -> Checkpoint:
    """The files of one set of weights as one checkpoint. Raises what ``open_files`` raises."""
    if is_grok(files):
        return open_grok(folder, files)
    whole = split_stem(files[0])
    if whole:
        return open_joined(folder, files, whole)
    return open_files(folder, files) if len(files) > 1 else open_file(folder, files[0])


def read_architecture(folder: SourceFolder, files: tuple[str, ...], checkpoint: Checkpoint) -> tuple[Architecture, str]:
    """The architecture, and the name of the file that states it: a GGUF file itself, or the configuration beside.

    Raises ``LayoutError`` where nothing states it, or ``OutsideError``.
    """
    if is_gguf(files):
        return read_gguf_architecture(checkpoint.metadata, files[0]), files[0]
    name = _find_configuration(folder, files)
    read = Architecture.from_params if name == PARAMS else Architecture.from_config
    return read(read_document(folder, name)), name


def _find_configuration(folder: SourceFolder, files: tuple[str, ...]) -> str:
    """The name of the configuration beside the weights. Of two, it is the one that goes with such files."""
    names = (PARAMS, CONFIG) if is_published(files) else (CONFIG, PARAMS)
    for name in names:
        if name in folder.sizes:
            return name
    raise LayoutError(
        f"{folder}: neither params.json nor config.json is beside the weights, so their shapes cannot be checked",
        hint="put the release's params.json beside them",
    )
