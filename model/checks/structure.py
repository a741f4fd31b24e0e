"""The first level: what can be said of a checkpoint before a tensor is read. No torch here.

That every name and shape is there, and no other, was checked when the source was opened.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.findings import Finding
from magnetar.model.checks.levels import Level, LevelResult, judge
from magnetar.model.run.weights import RUNNABLE, Weights, name_stored, say_unrunnable

LARGEST_GAP = 1 << 20
"""Bytes between two tensors: containers align by up to 64, and the tables of names in them are smaller than this."""


def check_structure(source: CheckpointSource, weights: Weights) -> LevelResult:
    """Hold dtypes and places of the tensors against what a model may be. Shapes are known to fit."""
    findings = [*_find_unrunnable(weights.specs), *_find_places(source)]
    remark = f"{len(source.checkpoint.specs)} tensors, {source.architecture.total_parameters:,} parameters"
    return judge(Level.STRUCTURE, findings, remark)


def _find_unrunnable(specs: Mapping[str, TensorSpec]) -> Iterator[Finding]:
    odd = [spec for spec in specs.values() if spec.dtype not in RUNNABLE]
    for dtype in sorted({spec.dtype for spec in odd}):
        first, *others = (spec.name for spec in odd if spec.dtype == dtype)
        yield Finding("dtype", first, say_unrunnable(dtype, len(others)))


def _find_places(source: CheckpointSource) -> Iterator[Finding]:
    """Tensors that share bytes, and bytes that are no tensor's."""
    published = {stored: name for name, stored in reversed(name_stored(source).items())}
    for kind, spec, detail in _compare_neighbours(source.checkpoint):
        yield Finding(kind, published.get(spec.name, spec.name), detail, spec.name)


def _find_tails(checkpoint: Checkpoint) -> Iterator[tuple[str, TensorSpec, str]]:
    """Bytes after the last tensor of a file; a container's own table there is far smaller."""
    last: dict[int, TensorSpec] = {}
    for spec in checkpoint.specs.values():
        if spec.source not in last or spec.offset + spec.nbytes > last[spec.source].offset + last[spec.source].nbytes:
            last[spec.source] = spec
    for spec in last.values():
        rest = checkpoint.sources[spec.source].size - (spec.offset + spec.nbytes)
        if rest > LARGEST_GAP:
            yield "unclaimed", spec, f"{rest:,} bytes after it, to the end of the file, are no tensor's"


def _compare_neighbours(checkpoint: Checkpoint) -> Iterator[tuple[str, TensorSpec, str]]:
    yield from _find_tails(checkpoint)
    placed = sorted(checkpoint.specs.values(), key=lambda spec: (spec.source, spec.offset, spec.nbytes))
    for one, two in pairwise(placed):
        if one.source != two.source:
            continue
        gap = two.offset - (one.offset + one.nbytes)
        if gap < 0:
            yield "tied", two, f"shares {min(-gap, two.nbytes):,} bytes of the file with {one.name}"
        elif gap > LARGEST_GAP:
            yield "unclaimed", two, f"{gap:,} bytes before it in the file are no tensor's"
