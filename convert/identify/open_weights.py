"""Open a set of weights without its configuration, and say how the tensors of any layout are made from it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from magnetar.byte_source import SourceFolder, closing_on_error
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_file, open_files, open_joined
from magnetar.convert.formats.grok import is_grok, open_grok
from magnetar.convert.identify.infer_architecture import Shape, infer_architecture
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move, keep_tensors, map_tensor
from magnetar.convert.layout.tables import detect_layout, find_layout
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.convert.read.part_names import split_stem
from magnetar.errors import LayoutError


@dataclass(frozen=True)
class Weights:
    """A set of weights, opened. ``layout`` is the one that the names of tensors tell, ``AS_IS`` where they tell none.

    ``architecture`` is inferred from shapes; None where the layout is ``AS_IS``.
    """

    folder: SourceFolder
    files: tuple[str, ...]
    checkpoint: Checkpoint
    layout: str
    architecture: Architecture | None

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of each tensor, by its name in the files."""
        return MappingProxyType({spec.name: spec.shape for spec in self.checkpoint.specs.values()})

    def moves_to(self, layout: str) -> dict[str, Move]:
        """How tensors of ``layout`` are made from these, as far as these are there in the right shape.

        Where either layout is not known, tensors are those of the same names.
        """
        if self.architecture is None or layout == AS_IS or self.layout == AS_IS:
            return {move.name: move for move in keep_tensors(self.checkpoint.specs)}
        own = find_layout(self.layout)
        laid = own.tensors(self.architecture)
        whole = {name for name, tensor in laid.items() if self.shapes.get(name) == tensor.shape}
        places = own.places(self.architecture)
        there = {part: place for part, place in places.items() if place.tensor in whole}
        moves = {}
        for tensor in find_layout(layout).tensors(self.architecture).values():
            if all(part in there for part in tensor.parts):
                with suppress(LayoutError):  # parts of two dtypes, or blocks that cannot be transposed
                    moves[tensor.name] = map_tensor(tensor, there, self.checkpoint.specs, self.architecture)
        return moves

    def with_head_dim(self, head_dim: int) -> "Weights":
        """The same weights, whose heads have ``head_dim`` rows. Raises ``LayoutError`` if they cannot have."""
        architecture = infer_architecture(find_layout(self.layout), self.shapes, head_dim)
        return replace(self, architecture=architecture)

    @property
    def source(self) -> CheckpointSource:
        """The same weights for whoever takes a source. Not all tensors of its architecture need be there."""
        return CheckpointSource(
            self.folder, self.files, self.checkpoint, self.architecture, self.layout, "by the names of its tensors"
        )

    def close(self) -> None:
        self.checkpoint.close()


def open_weights(folder: SourceFolder, files: tuple[str, ...]) -> Weights:
    """Open the headers of a set. Raises ``CheckpointError``, ``UnsafePickle``, ``UsageError`` or ``OutsideError``."""
    checkpoint = _open(folder, files)
    with closing_on_error([checkpoint]):
        try:
            layout, _ = detect_layout(checkpoint.specs)
            shapes = {spec.name: spec.shape for spec in checkpoint.specs.values()}
            return Weights(folder, files, checkpoint, layout.name, infer_architecture(layout, shapes))
        except LayoutError:
            return Weights(folder, files, checkpoint, AS_IS, None)


def _open(folder: SourceFolder, files: tuple[str, ...]) -> Checkpoint:
    if is_grok(files):
        return open_grok(folder, files)
    if whole := split_stem(files[0]):
        return open_joined(folder, files, whole)
    return open_files(folder, files) if len(files) > 1 else open_file(folder, files[0])
