"""Bytes at rest, read by range: the seam at which ``fetch`` and ``convert`` meet.

A conversion works on a :class:`ByteSource` and does not ask whether it is one file, split parts
joined virtually, or a torrent that is still arriving.
"""

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from magnetar.errors import DiskError, UsageError


def new_buffer(size: int) -> memoryview:
    """Memory to read into, of zeros, that begins at a page.

    A ``bytearray`` of some MB begins 16 bytes behind one. The kernel copies pages there at half the speed, since the
    processor takes every load for one of a store just before it: they agree in their last twelve bits.
    """
    return memoryview(mmap.mmap(-1, size))


class FileSpan(NamedTuple):
    """``length`` bytes at ``offset`` of one open file, for calls such as ``copy_file_range``."""

    descriptor: int
    offset: int
    length: int


class ByteSource(Protocol):
    """A run of bytes that can be read at any offset, from any thread."""

    @property
    def name(self) -> str:
        """What to call it in a message."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``; raises ``DiskError`` if they cannot be had."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes, contiguous) from ``offset``; raises ``DiskError`` if it cannot be filled."""
        ...

    def available(self, offset: int, length: int) -> bool:
        """Whether those bytes are there, and proven, now."""
        ...

    def spans(self, offset: int, length: int) -> Iterator[FileSpan]:
        """The pieces of open files that hold those bytes, in order."""
        ...


class LocalFile:
    """One file, opened for reading. Reads are positional, so threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | os.O_CLOEXEC)
            self._size = os.fstat(self._descriptor).st_size
        except FileNotFoundError as error:
            raise UsageError(f"{path}: there is no such file", hint="check the path") from error
        except OSError as error:
            raise DiskError(f"{path}: cannot be opened: {error.strerror}") from error

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise DiskError(f"{self.path}: cannot be read at byte {offset + done}: {error.strerror}") from error
            if count == 0:
                raise DiskError(f"{self.path}: ends at byte {offset + done}, {len(buffer) - done} bytes too early")
            done += count

    def available(self, offset: int, length: int) -> bool:
        return offset >= 0 and offset + length <= self._size

    def spans(self, offset: int, length: int) -> Iterator[FileSpan]:
        yield FileSpan(self._descriptor, offset, length)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Concatenation:
    """Several sources, read as if they were one: split parts that need not be joined on disk."""

    def __init__(self, name: str, parts: Sequence[ByteSource]) -> None:
        self.name = name
        self._parts = tuple(parts)
        self._starts = (0, *accumulate(part.size for part in self._parts))

    @property
    def size(self) -> int:
        return self._starts[-1]

    def read(self, offset: int, length: int) -> bytes:
        return b"".join(part.read(start, count) for part, start, count in self._cut(offset, length))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        for part, start, count in self._cut(offset, len(buffer)):
            part.read_into(start, buffer[done : done + count])
            done += count

    def available(self, offset: int, length: int) -> bool:
        if offset < 0 or offset + length > self.size:
            return False
        return all(part.available(start, count) for part, start, count in self._cut(offset, length))

    def spans(self, offset: int, length: int) -> Iterator[FileSpan]:
        for part, start, count in self._cut(offset, length):
            yield from part.spans(start, count)

    def _cut(self, offset: int, length: int) -> Iterator[tuple[ByteSource, int, int]]:
        """Each part that the range touches, with the range inside it: (part, offset, length)."""
        if offset < 0 or offset + length > self.size:
            raise DiskError(f"{self.name}: has {self.size} bytes, so bytes {offset}..{offset + length} are not there")
        index = bisect_right(self._starts, offset) - 1
        while length > 0:
            inside = offset - self._starts[index]
            count = min(length, self._parts[index].size - inside)
            if count:
                yield self._parts[index], inside, count
            offset, length, index = offset + count, length - count, index + 1


class Content:
    """Bytes in memory as a :class:`magnetar.byte_source.ByteSource`."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._content[offset : offset + len(buffer)]

    def available(self, offset: int, length: int) -> bool:
        return offset >= 0 and offset + length <= self.size

    def spans(self, _offset: int, _length: int) -> Iterator[FileSpan]:
        return iter(())  # no open file holds them


class JoinedFile(Concatenation):
    """Local files, one behind the other. Raises ``UsageError`` or ``DiskError`` if one cannot be opened."""

    def __init__(self, name: str, paths: Sequence[Path], kind: type[LocalFile] = LocalFile) -> None:
        self._files: list[LocalFile] = []
        try:
            for path in paths:
                self._files.append(kind(path))
        except BaseException:
            self.close()
            raise
        super().__init__(name, self._files)

    def close(self) -> None:
        for file in self._files:
            file.close()
