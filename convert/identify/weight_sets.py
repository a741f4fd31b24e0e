"""All sets of weights that a folder holds. A runtime loads one of them, and nobody knows which."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from magnetar.byte_source import SourceFolder
from magnetar.convert.formats.detect import INDEX_SUFFIXES, read_document
from magnetar.convert.identify.find_sets import find_sets
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import check_tensors, detect_layout
from magnetar.convert.read.checkpoint_source import (
    CheckpointSource,
    keep_as_it_is,
    open_files_of_set,
    read_architecture,
)
from magnetar.convert.read.find_weights import WEIGHTS
from magnetar.convert.read.part_names import find_split, split_stem
from magnetar.errors import MagnetarError

NAMES = {
    "hf": re.compile(r"(model|pytorch_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)"),
    "hf-fused": re.compile(r"(model|pytorch_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)"),
    "mlx": re.compile(r"(model|weights)[^/]*\.safetensors"),
    "mistral": re.compile(r"consolidated(\.\d{2})?\.(safetensors|pth)|model(-\d{5}-of-\d{5})?\.safetensors"),
}
"""The names under which the runtimes of a layout look for weights: transformers, MLX-LM, mistral-inference; and those
that ``convert --to safetensors`` gives, which keeps the layout."""


def is_looked_for(name: str, layout: str | None = None) -> bool:
    """Whether a runtime that reads this layout finds weights of this name. llama.cpp takes any. None: any runtime."""
    if layout is None:
        return any(pattern.fullmatch(name) for pattern in NAMES.values())
    return layout not in NAMES or NAMES[layout].fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class WeightSet:
    """Files that are one checkpoint: ``files`` are opened; ``indices`` only say in which of them each tensor lies."""

    files: tuple[str, ...]
    indices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The first of its files."""
        return self.files[0]


def list_weight_sets(folder: SourceFolder) -> tuple[WeightSet, ...]:
    """Every set of weights directly in a folder: what is one by its first bytes, or by its name.

    A file with the name of weights that holds something else is a set too, so that nobody passes it over. Raises
    ``OutsideError``.
    """
    sets = [WeightSet(files) for files in find_sets(folder)]
    found = {name for weights in sets for name in weights.files}
    sets += [WeightSet((name,)) for name in sorted(folder.sizes) if name not in found and WEIGHTS.fullmatch(name)]
    for index in sorted(name for name in folder.sizes if name.endswith(INDEX_SUFFIXES)):
        sets = _join_by_index(sets, index, _shards_of(folder, index))
    return tuple(sorted(sets, key=lambda weights: weights.files))


def open_set(
    folder: SourceFolder, weights: WeightSet, architecture: Architecture | None, *, as_it_is: bool = False
) -> CheckpointSource:
    """Open a set, its names and shapes held against ``architecture``; None takes what the folder itself states.

    ``as_it_is`` holds them against nothing, and keeps them.
    An index beside is not read: each file tells what it holds. Raises what ``open_folder`` raises.
    """
    files = tuple(find_split(weights.files)) if split_stem(weights.name) else weights.files
    checkpoint = open_files_of_set(folder, files)
    if as_it_is:
        return keep_as_it_is(folder, files, checkpoint)
    try:
        stated_in = "the release"
        if architecture is None:
            architecture, stated_in = read_architecture(folder, files, checkpoint)
        layout, reason = detect_layout(checkpoint.specs)
        shapes = {spec.name: spec.shape for spec in checkpoint.specs.values()}
        check_tensors(layout, architecture, shapes, stated_in)
    except BaseException:
        checkpoint.close()
        raise
    return CheckpointSource(folder, files, checkpoint, architecture, layout.name, reason)


def _join_by_index(sets: Sequence[WeightSet], index: str, shards: Collection[str]) -> list[WeightSet]:
    """Note an index with the one set that it names, or whose name it has. An index over several sets joins them."""
    named = [weights for weights in sets if set(weights.files) & set(shards)]
    if not named:
        stem, suffix = index.removesuffix(".index.json").rsplit(".", 1)
        like = re.compile(rf"{re.escape(stem)}(-\d{{5}}-of-\d{{5}})?\.{re.escape(suffix)}")
        named = [weights for weights in sets if like.fullmatch(weights.name)][:1]
    if not named:
        return list(sets)
    files = tuple(sorted(file for weights in named for file in weights.files))
    indices = tuple(name for weights in named for name in weights.indices)
    return [*(weights for weights in sets if weights not in named), WeightSet(files, (*indices, index))]


def _shards_of(folder: SourceFolder, index: str) -> list[str]:
    try:
        weight_map = read_document(folder, index).get("weight_map")
    except MagnetarError:
        return []
    return sorted({str(shard) for shard in weight_map.values()}) if isinstance(weight_map, dict) else []
