"""Several files as one checkpoint: parts of a model, or the ranks of a model that was split for several devices.

Files whose tensors have different names are parts, and are united. Files whose tensors all have the same names are the
ranks of a tensor-parallel model: each holds a share of every tensor.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from magnetar.byte_source import ByteSource, Concatenation, read_bytes
from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint, TensorSpec
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

SPLIT_BY_ROWS = re.compile(r".*\.(wq|wk|wv|w1|w3)\.weight|output\.weight")
SPLIT_BY_COLUMNS = re.compile(r".*\.(wo|w2)\.weight")
EMBEDDING = "tok_embeddings.weight"
"""Split by columns in Llama 1 and 2 and Mistral's own script, by rows in Llama 3: its shape says which."""

REPLICATED = re.compile(r".*norm\.weight|rope\.freqs|.*\.gate\.weight")


def unite(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """One checkpoint made of several, which it closes. Raises ``CheckpointError`` if only some names are in two."""
    names = [set(checkpoint.specs) for checkpoint in checkpoints]
    if len(checkpoints) > 1 and names[0] and all(other == names[0] for other in names):
        return _merge(checkpoints)
    sources: list[ByteSource] = []
    specs: dict[str, TensorSpec] = {}
    for checkpoint in checkpoints:
        for spec in checkpoint.specs.values():
            if spec.name in specs:
                raise CheckpointError(
                    f"{spec.name} is in {sources[specs[spec.name].source].name} and again in "
                    f"{checkpoint.sources[spec.source].name}",
                    hint="remove the file that does not belong to this checkpoint",
                    path=Path(checkpoint.sources[spec.source].name),
                    tensor=spec.name,
                )
            specs[spec.name] = replace(spec, source=spec.source + len(sources))
        sources += checkpoint.sources
    first = checkpoints[0] if checkpoints else None
    return Checkpoint(first.container if first else "", sources, specs.values(), first.metadata if first else None)


class _MergedRanks(Checkpoint):
    """Tensors put together from the shares of all ranks. The checksums are those of the shares."""

    def __init__(self, ranks: Sequence[Checkpoint], sources: Iterable[ByteSource], specs: Iterable[TensorSpec]) -> None:
        super().__init__(f"{ranks[0].container}, {len(ranks)} ranks", sources, specs, ranks[0].metadata)
        self._ranks = ranks

    @property
    def sealed(self) -> bool:
        return all(rank.sealed for rank in self._ranks)

    def check(self, spec: TensorSpec) -> None:
        for rank in self._ranks:
            rank.check(rank.specs[spec.name])

    def close(self) -> None:
        for rank in self._ranks:
            rank.close()


def _merge(ranks: Sequence[Checkpoint]) -> Checkpoint:
    """The model that the ranks hold the shares of. Raises ``CheckpointError`` naming a tensor that does not fit."""
    dim = math.prod(ranks[0].specs["norm.weight"].shape) if "norm.weight" in ranks[0].specs else 0
    sources: list[ByteSource] = []
    specs = []
    for name in ranks[0].specs:
        shares = [(rank, rank.specs[name]) for rank in ranks]
        if len({(spec.dtype, spec.shape) for _, spec in shares}) != 1:
            what = f"{name} has another dtype or shape in each of the {len(ranks)} files"
            raise CheckpointError(what, tensor=name)
        shape, source = _join(name, shares, dim)
        nbytes = math.prod(shape) * DTYPES[shares[0][1].dtype].itemsize
        specs.append(TensorSpec(name, shares[0][1].dtype, shape, len(sources), 0, nbytes))
        sources.append(source)
    return _MergedRanks(ranks, sources, specs)


def _join(name: str, shares: Sequence[tuple[Checkpoint, TensorSpec]], dim: int) -> tuple[tuple[int, ...], ByteSource]:
    """The whole tensor's shape, and its bytes."""
    spec = shares[0][1]
    windows = [
        _Window(rank.sources[share.source], share.offset, share.nbytes, f"{name} of {rank.sources[share.source].name}")
        for rank, share in shares
    ]
    if REPLICATED.fullmatch(name):
        _check_equal(name, windows)
        return spec.shape, windows[0]
    if len(spec.shape) == 2:
        rows, columns = spec.shape
        if SPLIT_BY_ROWS.fullmatch(name) or (name == EMBEDDING and columns == dim):
            return (rows * len(shares), columns), Concatenation(name, windows)
        if SPLIT_BY_COLUMNS.fullmatch(name) or (name == EMBEDDING and columns * len(shares) == dim):
            return (rows, columns * len(shares)), _Columns(name, windows, rows)
    raise CheckpointError(
        f"{name} is in all of the {len(shares)} files, and how it was split over them is not known",
        hint="tensor-parallel checkpoints are read in the publisher's names only",
        tensor=name,
    )


def _check_equal(name: str, windows: Sequence["_Window"]) -> None:
    for window in windows[1:]:
        for start in range(0, window.size, CHUNK):
            length = min(CHUNK, window.size - start)
            if read_bytes(window, start, length) != read_bytes(windows[0], start, length):
                raise CheckpointError(
                    f"{window.name} is not what it is in the first rank, though every rank should have the same",
                    hint="one of the files is damaged, or of another model",
                    tensor=name,
                )


class _Window:
    """A range of bytes of a source, as a source."""

    def __init__(self, source: ByteSource, offset: int, size: int, name: str) -> None:
        self.name = name
        self.size = size
        self._source = source
        self._offset = offset

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._source.read_into(self._offset + offset, buffer)

    def close(self) -> None:
        """The rank that the bytes are of closes their source."""


class _Columns:
    """Matrices with the same number of rows, side by side, as one matrix. It is read in whole rows."""

    def __init__(self, name: str, shares: Sequence[ByteSource], rows: int) -> None:
        self.name = name
        self._shares = shares
        self._width = shares[0].size // rows
        self._row = self._width * len(shares)
        self.size = rows * self._row

    def read_into(self, offset: int, buffer: memoryview) -> None:
        end = offset + len(buffer)
        step = max(CHUNK // self._row, 1)
        for row in range(offset // self._row, -(-end // self._row), step):
            rows = self._read_rows(row, min(step, -(-end // self._row) - row))
            begin = row * self._row
            low, high = max(begin, offset), min(begin + len(rows), end)
            buffer[low - offset : high - offset] = rows[low - begin : high - begin]

    def _read_rows(self, row: int, count: int) -> memoryview:
        import numpy as np  # here, so that what needs no arithmetic starts without it

        joined = np.empty((count, len(self._shares), self._width), np.uint8)
        for number, share in enumerate(self._shares):
            content = read_bytes(share, row * self._width, count * self._width)
            joined[:, number] = np.frombuffer(content, np.uint8).reshape(count, self._width)
        return joined.reshape(-1).data

    def close(self) -> None:
        """The ranks that the shares are of close their sources."""
