"""A checkpoint at rest: named tensors, each a range of bytes in some source. Reading one never runs anything."""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from magnetar.byte_source import ByteSource, JoinedFile, LocalFile
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

LONGEST_NAME = 512
MOST_DIMENSIONS = 8
CHUNK = 1 << 20
"""How many bytes are read at once: few enough to stay in a cache between reading, checking and writing."""


class Seal(NamedTuple):
    """A range of a source whose CRC-32 the container states."""

    offset: int
    nbytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: row-major, little-endian, ``nbytes`` at ``offset`` of the checkpoint's source number ``source``.

    ``dtype`` is spelled as safetensors spells it. ``seal`` is the checksummed range that the bytes lie in, if the
    container has any.
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
    """Tensors by name, and the sources that their bytes lie in. ``container`` says of what kind their files are.

    ``metadata`` is what the container says beside them: foreign, and read from GGUF only.
    A tensor's bytes are only handed out as good after the container's checksum over them, where it has one, was
    found right.
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
        """One tensor's bytes, checked. Raises ``CheckpointError`` if the checksum is wrong, ``DiskError``."""
        spec = self.specs[name]
        if not spec.sealed_alone:
            self.check(spec)
        content = bytearray(spec.nbytes)
        self.sources[spec.source].read_into(spec.offset, memoryview(content))
        if spec.sealed_alone:
            self.settle(spec, zlib.crc32(content))
        return content

    def read_into(self, spec: TensorSpec, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from byte ``start`` of a tensor. The caller sees to the checksum: ``follow``, ``check``."""
        self.sources[spec.source].read_into(spec.offset + start, buffer)

    def follow(self, spec: TensorSpec, start: int, content: memoryview) -> None:
        """Meet bytes that were read from ``start`` of a tensor, so that they need not be read again to be checked.

        Once all bytes under a checksum were met, one after the other, it is settled. Bytes that do not continue those
        met before are passed over: ``check`` sees to them. Raises ``CheckpointError`` if the checksum is wrong.
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
        """Read the checksummed range around a tensor and compare; once for each range. Raises ``CheckpointError``."""
        if spec.seal is None or self.is_checked(spec):
            return
        crc = 0
        for chunk in _chunks(self.sources[spec.source], spec.seal):
            crc = zlib.crc32(chunk, crc)
        self.settle(spec, crc)

    def settle(self, spec: TensorSpec, crc32: int) -> None:
        """Compare the CRC-32 that was met over a tensor's sealed range with the stated one."""
        if spec.seal is None:
            return
        if crc32 != spec.seal.crc32:
            raise CheckpointError(
                f"{self.sources[spec.source].name}: the bytes of {spec.name} are damaged: their CRC-32 is "
                f"{crc32:08x}, the file says {spec.seal.crc32:08x}",
                hint="fetch the file again, or repair it",
            )
        self._checked.add((spec.source, spec.seal))

    def close(self) -> None:
        for source in self.sources:
            if isinstance(source, LocalFile | JoinedFile):
                source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def tensor_bytes(dtype: str, shape: tuple[int, ...], where: str) -> int:
    """How many bytes a tensor of that dtype and shape has. Raises ``CheckpointError`` for one that cannot be."""
    if dtype not in DTYPES:
        raise CheckpointError(f"{where}: the dtype {dtype!r} is not known")
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise CheckpointError(f"{where}: the shape {list(shape[:16])} is impossible")
    return math.prod(shape) * DTYPES[dtype].itemsize


def check_name(name: str, where: str) -> None:
    """Refuse names that no model has and that could escape where a tool makes files of them."""
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or "/" in name or "\\" in name or ".." in name:
        raise CheckpointError(f"{where}: {name[:80]!r} is not a plain tensor name")


def _chunks(source: ByteSource, seal: Seal) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(CHUNK, seal.nbytes)))
    for start in range(0, seal.nbytes, CHUNK):
        chunk = buffer[: min(CHUNK, seal.nbytes - start)]
        source.read_into(seal.offset + start, chunk)
        yield chunk
