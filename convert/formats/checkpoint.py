"""A checkpoint at rest: named tensors, each a range of bytes in some source. Reading one never runs anything."""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from magnetar.byte_source import ByteSource
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 8
CHUNK = 1 << 20
"""Bytes that are read at once: few enough to stay in a processor's cache while they are read, checked and written."""


class Seal(NamedTuple):
    """A range of a source whose CRC-32 the container states."""

    offset: int
    nbytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: row-major, little-endian, ``nbytes`` at ``offset`` of the checkpoint's source number ``source``.

    ``dtype`` is spelled as safetensors or GGUF spell it. ``seal`` is the checksummed range that the bytes lie in;
    None if the container has no checksums.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: int
    offset: int
    nbytes: int
    seal: Seal | None = None

    @property
    def sealed_alone(self) -> bool:
        """Whether the container's checksum is over exactly these bytes."""
        return self.seal is not None and self.seal[:2] == (self.offset, self.nbytes)


class Checkpoint:
    """Tensors by name, and the sources that their bytes lie in.

    ``container`` names the format of the files. ``metadata`` is what the container says beside the tensors: foreign
    text and numbers, read from GGUF only. A checkpoint owns its sources: closing it closes them.

    Where the container states a checksum over a tensor's bytes, the bytes count as good only after the checksum was
    found right. ``read`` does that by itself; who reads by ``read_into`` calls ``follow`` and ``check``.
    """

    def __init__(
        self,
        container: str,
        sources: Iterable[ByteSource],
        specs: Iterable[TensorSpec],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.container = container
        self.metadata: Mapping[str, Any] = metadata or {}
        self.sources = tuple(sources)
        self.specs: Mapping[str, TensorSpec] = {spec.name: spec for spec in specs}
        self._checked: set[tuple[int, Seal]] = set()
        self._followed: dict[tuple[int, Seal], tuple[int, int]] = {}

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors together."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(math.prod(spec.shape) for spec in self.specs.values())

    @property
    def sealed(self) -> bool:
        """Whether the container states a checksum over every tensor."""
        return all(spec.seal is not None for spec in self.specs.values())

    def read(self, name: str) -> bytearray:
        """One tensor's bytes, checked. Raises ``CheckpointError`` if the checksum is wrong, or ``OutsideError``."""
        spec = self.specs[name]
        if not spec.sealed_alone:
            self.check(spec)
        content = bytearray(spec.nbytes)
        self.sources[spec.source].read_into(spec.offset, memoryview(content))
        if spec.sealed_alone:
            self.settle(spec, zlib.crc32(content))
        return content

    def read_into(self, spec: TensorSpec, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from byte ``start`` of a tensor. The checksum is left to ``follow`` and ``check``."""
        self.sources[spec.source].read_into(spec.offset + start, buffer)

    def follow(self, spec: TensorSpec, start: int, content: memoryview) -> None:
        """Add bytes that were just read from ``start`` of a tensor to the running checksum of their range.

        When all bytes of the range were followed from first to last, the checksum is compared, and ``check`` need not
        read them again. Bytes that do not continue those before are ignored; ``check`` will read the range.
        Raises ``CheckpointError`` if the checksum is wrong.
        """
        if spec.seal is None or self.is_checked(spec):
            return
        key, begin = (spec.source, spec.seal), spec.offset + start
        position, crc = (begin, 0) if begin == spec.seal.offset else self._followed.get(key, (-1, 0))
        if begin != position:
            return
        position, crc = begin + len(content), zlib.crc32(content, crc)
        self._followed[key] = position, crc
        if position == spec.seal.offset + spec.seal.nbytes:
            self.settle(spec, crc)

    def is_checked(self, spec: TensorSpec) -> bool:
        """Whether the checksum over a tensor's bytes was found right already."""
        return spec.seal is not None and (spec.source, spec.seal) in self._checked

    def check(self, spec: TensorSpec) -> None:
        """Read the checksummed range around a tensor, unless it was checked before, and compare the checksum.

        Raises ``CheckpointError`` if it is wrong.
        """
        if spec.seal is None or self.is_checked(spec):
            return
        crc = 0
        for chunk in _read_chunks(self.sources[spec.source], spec.seal):
            crc = zlib.crc32(chunk, crc)
        self.settle(spec, crc)

    def settle(self, spec: TensorSpec, crc32: int) -> None:
        """Compare the CRC-32 of the bytes that were read with the one that the container states.

        Raises ``CheckpointError`` if they differ.
        """
        if spec.seal is None:
            return
        if crc32 != spec.seal.crc32:
            file = self.sources[spec.source].name
            raise CheckpointError(
                f"{file}: the bytes of {spec.name} are damaged: their CRC-32 is "
                f"{crc32:08x}, the file says {spec.seal.crc32:08x}",
                hint="fetch the file again, or repair it",
                path=Path(file),
                tensor=spec.name,
            )
        self._checked.add((spec.source, spec.seal))

    def close(self) -> None:
        for source in self.sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def tensor_bytes(dtype: str, shape: tuple[int, ...], file: str, tensor: str) -> int:
    """How many bytes a tensor has. Raises ``CheckpointError`` for a dtype or a shape that is impossible."""
    if dtype not in DTYPES:
        raise CheckpointError(f"{file}: {tensor}: the dtype {dtype!r} is not known", tensor=tensor)
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise CheckpointError(f"{file}: {tensor}: the shape {list(shape[:16])} is impossible", tensor=tensor)
    return math.prod(shape) * DTYPES[dtype].itemsize


def check_name(name: str, file: str) -> None:
    """Refuse a name that no model has, or that could lead out of a folder if a tool made files of tensors.

    Raises ``CheckpointError``.
    """
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable() or "/" in name or "\\" in name or ".." in name:
        raise CheckpointError(f"{file}: {name[:80]!r} is not a plain tensor name")


def _read_chunks(source: ByteSource, seal: Seal) -> Iterator[memoryview]:
    """The bytes of a range. Each view's memory is reused for the next."""
    buffer = memoryview(bytearray(min(CHUNK, seal.nbytes)))
    for start in range(0, seal.nbytes, CHUNK):
        chunk = buffer[: min(CHUNK, seal.nbytes - start)]
        source.read_into(seal.offset + start, chunk)
        yield chunk
