"""The level ``structure``: what the headers of a checkpoint say, before a tensor is read. No torch here.

That every name and shape is there, and no other, was checked when the checkpoint was opened.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.findings import Finding
from magnetar.model.checks.levels import Level, LevelResult, conclude
from magnetar.model.run.weights import RUNNABLE, Weights, explain_unrunnable, name_stored, stored_kind

MAX_GAP_BYTES = 1 << 20
"""Bytes between two tensors: containers align by up to 64, and the tables of names in them are smaller than this."""


@dataclass(frozen=True, slots=True, eq=False)
class HeaderFacts:
    """What the headers of a checkpoint say, and its configuration.

    ``layout`` is that of the file, and ``layout_reason`` says how it was found. ``kind`` is the dtype or block format
    of most of its bytes. ``specs`` are the tensors as the model reads them, by the publisher's names; ``stored`` the
    tensors as they lie in the files, whose sizes in bytes are ``file_sizes``. ``stored_names`` gives for each of the
    publisher's names the one in the file.
    """

    architecture: Architecture
    layout: str
    layout_reason: str
    kind: str
    files: tuple[str, ...]
    file_sizes: tuple[int, ...]
    specs: Mapping[str, TensorSpec]
    stored: tuple[TensorSpec, ...]
    stored_names: Mapping[str, str]


def read_headers(source: CheckpointSource, weights: Weights) -> HeaderFacts:
    """The facts of an opened checkpoint; ``weights`` is its view in the publisher's layout."""
    return HeaderFacts(
        architecture=source.architecture,
        layout=source.layout,
        layout_reason=source.reason,
        kind=stored_kind(source),
        files=tuple(name for name in source.files),
        file_sizes=tuple(opened.size for opened in source.checkpoint.sources),
        specs=weights.specs,
        stored=tuple(source.checkpoint.specs.values()),
        stored_names=name_stored(source),
    )


def judge_structure(headers: HeaderFacts) -> LevelResult:
    """Hold dtypes and places of the tensors against what a model may be. Shapes are known to fit."""
    findings = [*_list_unrunnable(headers.specs), *_find_misplaced(headers)]
    remark = f"{len(headers.stored)} tensors, {headers.architecture.total_parameters:,} parameters"
    return conclude(Level.STRUCTURE, findings, remark)


def _list_unrunnable(specs: Mapping[str, TensorSpec]) -> Iterator[Finding]:
    """One finding for each dtype that cannot be computed with."""
    odd = [spec for spec in specs.values() if spec.dtype not in RUNNABLE]
    for dtype in sorted({spec.dtype for spec in odd}):
        first, *others = (spec.name for spec in odd if spec.dtype == dtype)
        yield Finding("dtype", first, explain_unrunnable(dtype, len(others)))


def _find_misplaced(headers: HeaderFacts) -> Iterator[Finding]:
    """Tensors that share bytes, and bytes that belong to no tensor."""
    published = {stored: name for name, stored in reversed([*headers.stored_names.items()])}
    faults = [*_find_tails(headers.stored, headers.file_sizes), *_find_gaps_and_overlaps(headers.stored)]
    for kind, spec, detail in faults:
        yield Finding(kind, published.get(spec.name, spec.name), detail, spec.name)


def _find_tails(specs: Sequence[TensorSpec], file_sizes: Sequence[int]) -> Iterator[tuple[str, TensorSpec, str]]:
    """Bytes after the last tensor of a file; a container's own table there is far smaller."""
    last: dict[int, TensorSpec] = {}
    for spec in specs:
        if spec.source not in last or spec.offset + spec.nbytes > last[spec.source].offset + last[spec.source].nbytes:
            last[spec.source] = spec
    for spec in last.values():
        rest = file_sizes[spec.source] - (spec.offset + spec.nbytes)
        if rest > MAX_GAP_BYTES:
            yield "unclaimed", spec, f"{rest:,} bytes after it, to the end of the file, are no tensor's"


def _find_gaps_and_overlaps(specs: Sequence[TensorSpec]) -> Iterator[tuple[str, TensorSpec, str]]:
    """Hold each tensor against the one that lies before it in the same file."""
    placed = sorted(specs, key=lambda spec: (spec.source, spec.offset, spec.nbytes))
    for before, spec in pairwise(placed):
        if before.source != spec.source:
            continue
        gap = spec.offset - (before.offset + before.nbytes)
        if gap < 0:
            yield "tied", spec, f"shares {min(-gap, spec.nbytes):,} bytes of the file with {before.name}"
        elif gap > MAX_GAP_BYTES:
            yield "unclaimed", spec, f"{gap:,} bytes before it in the file are no tensor's"
