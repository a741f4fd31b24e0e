"""All sets of weights that a folder holds. A runtime loads one of them, and nobody knows which."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from magnetar.byte_source import SourceFolder
from magnetar.convert.formats.detect import INDEX_SUFFIXES, read_document
from magnetar.convert.formats.grok import FILE as GROK_FILE
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import check_tensors, detect_layout
from magnetar.convert.read.checkpoint_source import CheckpointSource, open_files_of_set, read_architecture
from magnetar.convert.read.find_weights import WEIGHTS
from magnetar.convert.read.part_names import find_split, split_stem
from magnetar.errors import MagnetarError

SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}(?P<suffix>\.[a-z]+)")
CONSOLIDATED = re.compile(r"(?P<stem>consolidated)\.\d{2}(?P<suffix>\.[a-z]+)")
MAX_SETS = 1000

NAMES = {
    "hf": re.compile(r"(model|pytorch_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)"),
    "hf-fused": re.compile(r"(model|pytorch_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)"),
    "mlx": re.compile(r"(model|weights)[^/]*\.safetensors"),
    "mistral": re.compile(r"consolidated(\.\d{2})?\.(safetensors|pth)"),
}
"""The names under which the runtimes of a layout look for weights: transformers, MLX-LM, mistral-inference."""


def is_looked_for(name: str, layout: str) -> bool:
    """Whether a runtime that reads this layout finds weights of this name. llama.cpp takes any."""
    pattern = NAMES.get(layout)
    return pattern is None or pattern.fullmatch(name) is not None


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
    """Every set of weights among the files directly in a folder, going by names and by the indices of shards.

    An index that cannot be read belongs to the set that its name belongs to. Raises ``OutsideError``.
    """
    names = sorted(folder.sizes)
    sets: dict[str, WeightSet] = {}
    for name in names:
        if WEIGHTS.fullmatch(name) or GROK_FILE.fullmatch(name):
            key = _key_of(name)
            sets[key] = WeightSet((*sets[key].files, name)) if key in sets else WeightSet((name,))
    for index in (name for name in names if name.endswith(INDEX_SUFFIXES)):
        _join_by_index(sets, index, _shards_of(folder, index))
    return tuple(sets.values())[:MAX_SETS]


def open_set(folder: SourceFolder, weights: WeightSet, architecture: Architecture | None) -> CheckpointSource:
    """Open a set, its names and shapes held against ``architecture``; None takes what the folder itself states.

    An index beside is not read: each file tells what it holds. Raises what ``open_folder`` raises.
    """
    files = tuple(find_split(weights.files)) if split_stem(weights.name) else weights.files
    checkpoint = open_files_of_set(folder, files)
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


def _key_of(name: str) -> str:
    """What the names of the files of one set have in common."""
    match = SHARD.fullmatch(name) or CONSOLIDATED.fullmatch(name)
    if match:
        return f"{match['stem']}*{match['suffix']}"
    if GROK_FILE.fullmatch(name):
        return "grok"
    return f"{split_stem(name)}*" if split_stem(name) else name


def _join_by_index(sets: dict[str, WeightSet], index: str, shards: Iterable[str]) -> None:
    """Note an index with the one set that it names, or whose name it has. An index over several sets joins them."""
    named = [key for key, weights in sets.items() if set(weights.files) & set(shards)]
    if not named:
        stem, suffix = index.removesuffix(".index.json").rsplit(".", 1)
        named = [key for key in sets if key in (f"{stem}*.{suffix}", f"{stem}.{suffix}")][:1]
    if named:
        joined = [sets.pop(key) for key in named]
        files = tuple(sorted(file for weights in joined for file in weights.files))
        indices = tuple(name for weights in joined for name in weights.indices)
        sets[named[0]] = replace(joined[0], files=files, indices=(*indices, index))


def _shards_of(folder: SourceFolder, index: str) -> list[str]:
    try:
        weight_map = read_document(folder, index).get("weight_map")
    except MagnetarError:
        return []
    return sorted({str(shard) for shard in weight_map.values()}) if isinstance(weight_map, dict) else []
