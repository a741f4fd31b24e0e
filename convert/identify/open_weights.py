"""Open a set of weights without its configuration, and say how the tensors of any layout are made from it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from magnetar.byte_source import SourceFolder, closing_on_error
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_file, open_files, open_joined
from magnetar.convert.formats.grok import is_grok, open_grok
from magnetar.convert.formats.merge_ranks import unite
from magnetar.convert.identify.infer_architecture import Shape, fits_names, infer_architecture
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move, keep_tensors, map_tensor
from magnetar.convert.layout.tables import detect_layout, find_layout
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.convert.read.part_names import split_stem
from magnetar.errors import LayoutError


@dataclass(frozen=True, eq=False)
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

    @property
    def is_complete(self) -> bool:
        """Whether no tensor of its layout is missing."""
        if self.architecture is None:
            return False
        return find_layout(self.layout).tensors(self.architecture).keys() <= self.shapes.keys()

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
        return _describe(folder, files, checkpoint)


def unite_parts(sets: Iterable[Weights]) -> tuple[Weights, ...]:
    """Sets that lack tensors of their layout, and have none in common, become one: they are parts of a model.

    A set whose layout is not known is such a part if all of its names are of the others' layout, as when a file holds
    but the last matrix.
    """
    whole, parts = [], defaultdict[str, list[Weights]](list)
    for weights in sets:
        if split_stem(weights.files[0]) or weights.is_complete:
            whole.append(weights)
        else:
            parts[weights.layout].append(weights)
    nameless = parts.pop(AS_IS, [])
    for layout, some in parts.items():
        fitting = [weights for weights in nameless if fits_names(find_layout(layout), weights.shapes)]
        nameless = [weights for weights in nameless if weights not in fitting]
        whole += _unite_disjoint([*some, *fitting])
    return (*whole, *nameless)


def _unite_disjoint(parts: Iterable[Weights]) -> Iterator[Weights]:
    """As few sets as names allow, each put into the first that has none of its tensors."""
    groups: list[tuple[set[str], list[Weights]]] = []
    for part in parts:
        names = set(part.shapes)
        taken, members = next((group for group in groups if group[0].isdisjoint(names)), (set[str](), list[Weights]()))
        if not members:
            groups.append((taken, members))
        taken |= names
        members.append(part)
    for _, members in groups:
        if len(members) == 1:
            yield members[0]
            continue
        files = tuple(name for part in members for name in part.files)
        yield _describe(members[0].folder, files, unite([part.checkpoint for part in members]))


def _describe(folder: SourceFolder, files: tuple[str, ...], checkpoint: Checkpoint) -> Weights:
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
