"""Find the tensors that damaged bytes belong to, by joining ranges of bytes with the headers of a checkpoint.

Only headers are read. Tensors have the names that the file itself gives them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from magnetar.byte_source import ByteSource, LocalFile, closing_on_error, read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_joined, open_path, read_checkpoint
from magnetar.convert.formats.gguf import MAGIC as GGUF_MAGIC
from magnetar.convert.formats.grok import FILE as GROK_FILE
from magnetar.convert.formats.grok import open_grok
from magnetar.convert.formats.torch_zip import outline_torch_zip
from magnetar.convert.read.find_weights import find_files
from magnetar.convert.read.part_names import split_stem
from magnetar.errors import CheckpointError, ConversionError, DiskError, UsageError

ZIP_MAGIC = b"PK\x03\x04"

ByteRange = tuple[int, int]
"""Offset and length."""


@dataclass(frozen=True, slots=True)
class DamagedTensor:
    """A tensor: ``damaged`` of its ``nbytes`` bytes in ``file`` are damaged."""

    file: str
    name: str
    damaged: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class DamagedHeader:
    """``damaged`` bytes of a file belong to no tensor: they are its header, or padding.

    If the header is damaged, names and offsets in it may be wrong, so the names of the file's tensors are only likely.
    """

    file: str
    damaged: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A damaged file whose tensors cannot be listed, and why: its header is damaged, or it holds no weights."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class LocatedDamage:
    """Everything that is damaged in a checkpoint, file by file, in the order of the bytes."""

    tensors: tuple[DamagedTensor, ...]
    headers: tuple[DamagedHeader, ...]
    unreadable: tuple[Unreadable, ...]


def locate_damage(folder: Path, ranges: Mapping[str, Sequence[ByteRange]]) -> LocatedDamage:
    """Name the tensors that damaged bytes belong to.

    ``ranges`` holds the damaged bytes of each file, by its path in ``folder``. They may come in any order, overlap, and
    reach beyond the end of a file that was cut short. Files that cannot be read are in the result; nothing is raised.
    """
    tensors: list[DamagedTensor] = []
    headers: list[DamagedHeader] = []
    unreadable: list[Unreadable] = []
    for file, damaged in ranges.items():
        runs = _Runs(damaged)
        try:
            held = list(_list_extents(folder / file, runs.end)) if runs.total else []
        except (ConversionError, UsageError, DiskError) as error:
            unreadable.append(Unreadable(file, error.message))
            continue
        counted = (DamagedTensor(file, held_by.name, runs.count(held_by.range), held_by.range[1]) for held_by in held)
        tensors += [tensor for tensor in counted if tensor.damaged]
        beside = runs.total - sum(runs.count(extent) for extent in merge_ranges(held_by.range for held_by in held))
        if beside:
            headers.append(DamagedHeader(file, beside))
    return LocatedDamage(tuple(tensors), tuple(headers), tuple(unreadable))


def merge_ranges(ranges: Iterable[ByteRange]) -> list[ByteRange]:
    """The same bytes as ranges in order, without overlaps."""
    merged: list[ByteRange] = []
    for offset, length in sorted(ranges):
        if length <= 0:
            continue
        last, count = merged[-1] if merged else (0, 0)
        if merged and offset <= last + count:
            merged[-1] = (last, max(last + count, offset + length) - last)
        else:
            merged.append((offset, length))
    return merged


class _Runs:
    """A set of bytes, which can quickly count its members in a range."""

    def __init__(self, ranges: Iterable[ByteRange]) -> None:
        self._merged = merge_ranges(ranges)
        self._starts = [offset for offset, _ in self._merged]
        self._sums = list(accumulate((length for _, length in self._merged), initial=0))

    @property
    def total(self) -> int:
        return self._sums[-1]

    @property
    def end(self) -> int:
        """The end of the last byte."""
        return sum(self._merged[-1]) if self._merged else 0

    def count(self, extent: ByteRange) -> int:
        """How many of the bytes lie in a range."""
        offset, length = extent
        return self._count_before(offset + length) - self._count_before(offset)

    def _count_before(self, position: int) -> int:
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return 0
        offset, length = self._merged[index]
        return self._sums[index] + min(length, position - offset)


class _Extent(NamedTuple):
    """Where a tensor, or the share of it that a file has, lies in the file."""

    name: str
    range: ByteRange


def _list_extents(path: Path, end: int) -> Iterator[_Extent]:
    """Where the tensors lie in a file, in the order of its bytes. Raises what opening the file raises.

    A file that ends before ``end`` was cut short.
    """
    if split_stem(path.name):
        yield from _list_part(path)
        return
    if GROK_FILE.fullmatch(path.name):
        yield _find_grok_tensor(path)
        return
    with _open_whole(path, end) as checkpoint:
        own = {number for number, source in enumerate(checkpoint.sources) if source.name == path.name}
        specs = [spec for spec in checkpoint.specs.values() if spec.source in own]
    for spec in sorted(specs, key=lambda spec: spec.offset):
        yield _Extent(spec.name, (spec.offset, spec.nbytes))


def _find_grok_tensor(path: Path) -> _Extent:
    """Each file of Grok-1 is one tensor, whose name follows from its place among the others."""
    with LocalFile(path) as file:
        size = file.size
    folder, names = find_files(path.parent)
    with open_grok(folder, names) as checkpoint:
        return _Extent(list(checkpoint.specs)[sorted(names).index(path.name)], (0, size))


def _open_whole(path: Path, size: int) -> Checkpoint:
    """A damaged file, opened as far as its header is whole. ``size`` is the size that it should have."""
    with LocalFile(path) as file:
        head = read_bytes(file, 0, min(file.size, 16))
        cut = file.size < size
    if cut and (head.startswith(GGUF_MAGIC) or head[8:9] == b"{"):
        return read_checkpoint(_PaddedFile(LocalFile(path), size))
    try:
        return open_path(path)
    except CheckpointError:
        if not head.startswith(ZIP_MAGIC):
            raise
        return _outline(path)


def _outline(path: Path) -> Checkpoint:
    """A file of ``torch.save`` whose tensors are damaged, and with them the small headers between the tensors."""
    file = LocalFile(path)
    with closing_on_error([file]):
        return outline_torch_zip(file)


class _PaddedFile:
    """A file that ends too early, with zeros in the place of the bytes that are missing."""

    def __init__(self, file: ByteSource, size: int) -> None:
        self.name = file.name
        self.size = size
        self._file = file

    def read_into(self, offset: int, buffer: memoryview) -> None:
        there = max(min(self._file.size - offset, len(buffer)), 0)
        self._file.read_into(offset, buffer[:there])
        buffer[there:] = bytes(len(buffer) - there)

    def close(self) -> None:
        self._file.close()


def _list_part(path: Path) -> Iterator[_Extent]:
    """The same for one part of a split file. Of a tensor that continues in another part, only the share in this one."""
    folder, parts = find_files(path)
    begin = sum(folder.sizes[part] for part in parts[: parts.index(path.name)])
    end = begin + folder.sizes[path.name]
    with open_joined(folder, parts, split_stem(path.name)) as checkpoint:
        specs = sorted(checkpoint.specs.values(), key=lambda spec: spec.offset)
    for spec in specs:
        first, last = max(spec.offset, begin), min(spec.offset + spec.nbytes, end)
        if first < last:
            yield _Extent(spec.name, (first - begin, last - first))
