"""Bytes at rest, read by range: the seam at which ``fetch`` and ``convert`` meet.

A reader of checkpoints takes a :class:`SourceFolder`, opens files in it by name, and reads them as byte sources. It
does not ask whether the bytes lie in a file, in the parts of a file that was split, or behind a network. Whoever has
bytes of another kind implements these two protocols, and every reader works on them.
"""

import mmap
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, Self, runtime_checkable

from magnetar.errors import DiskError, UsageError


class ByteSource(Protocol):
    """A run of bytes that can be read at any offset, from any thread."""

    @property
    def name(self) -> str:
        """The name of its file, without a folder: for messages, and to find the file that goes with it."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (bytes, contiguous) from ``offset``. A source whose bytes are still arriving waits for them.

        Raises ``OutsideError`` (``DiskError`` for files) if the buffer cannot be filled.
        """
        ...

    def close(self) -> None:
        """Release what the source holds open. May be called twice; nothing is read afterwards."""
        ...


class FileSpan(NamedTuple):
    """``length`` bytes at ``offset`` of one open file, for calls such as ``copy_file_range``."""

    descriptor: int
    offset: int
    length: int


@runtime_checkable
class FileBacked(ByteSource, Protocol):
    """A source whose bytes lie in open files as they are, so that the kernel can copy them."""

    def spans(self, offset: int, length: int) -> Iterator[FileSpan]:
        """Where those bytes lie, in order."""
        ...


class SourceFolder(Protocol):
    """Files by name, each of which can be opened as a byte source. ``str`` of it says where it is."""

    @property
    def name(self) -> str:
        """Its own name, without the folders above it."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """The size of every file by its name. Folders inside are not among them."""
        ...

    def open(self, name: str) -> ByteSource:
        """One of its files. Raises ``UsageError`` if there is no such file, else ``OutsideError``."""
        ...

    def is_link(self, name: str) -> bool:
        """Whether the name only leads to a file elsewhere, which may not belong to the release."""
        ...


def read_bytes(source: ByteSource, offset: int, length: int) -> bytes:
    """Exactly ``length`` bytes at ``offset``. Raises what ``read_into`` raises."""
    buffer = bytearray(length)
    source.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def read_file(folder: SourceFolder, name: str) -> bytes:
    """The whole of a small file. Raises what ``open`` and ``read_into`` raise."""
    source = folder.open(name)
    try:
        return read_bytes(source, 0, source.size)
    finally:
        source.close()


class Closable(Protocol):
    """Whatever can be closed."""

    def close(self) -> None:
        """Release what it holds open."""
        ...


@contextmanager
def closing_on_error(opened: Iterable[Closable]) -> Iterator[None]:
    """Close all that was ``opened`` by then if the block fails."""
    try:
        yield
    except BaseException:
        for source in opened:
            source.close()
        raise


def open_all(folder: SourceFolder, names: Iterable[str]) -> list[ByteSource]:
    """Several files of a folder, in the given order. If one cannot be opened, none stays open. Raises as ``open``."""
    opened: list[ByteSource] = []
    with closing_on_error(opened):
        for name in names:
            opened.append(folder.open(name))  # noqa: PERF401 (those already open are closed if one fails)
    return opened


def new_buffer(size: int) -> memoryview:
    """Memory to read into, of zeros, that begins at a page.

    A ``bytearray`` of some MB begins 16 bytes behind one. The kernel copies pages there at half the speed, since the
    processor takes every load for one of a store just before it: they agree in their last twelve bits.
    """
    return memoryview(mmap.mmap(-1, size))


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
            raise DiskError(f"{path}: cannot be opened: {error.strerror}", path=path) from error

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                what = f"{self.path}: cannot be read at byte {offset + done}: {error.strerror}"
                raise DiskError(what, path=self.path) from error
            if count == 0:
                what = f"{self.path}: ends at byte {offset + done}, {len(buffer) - done} bytes too early"
                raise DiskError(what, path=self.path)
            done += count

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


FileOpener = Callable[[Path], ByteSource]
"""How the files of a folder are opened: ``LocalFile``, or a kind of it that reads past the page cache."""


class LocalFolder:
    """A folder on a disk of this machine. Links to files are followed."""

    def __init__(self, path: Path, open_file: FileOpener = LocalFile) -> None:
        self.path = path
        self._open_file = open_file

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def sizes(self) -> Mapping[str, int]:
        """As the folder is when it is asked. Raises ``DiskError`` if it cannot be listed."""
        return _LocalSizes(self.path)

    def open(self, name: str) -> ByteSource:
        return self._open_file(self.path / name)

    def is_link(self, name: str) -> bool:
        return (self.path / name).is_symlink()

    def __str__(self) -> str:
        return str(self.path)


class _LocalSizes(Mapping[str, int]):
    """Asks the file system: a look at one file does not list a folder of thousands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> int:
        path = self._folder / name
        try:
            if path.name == name and path.is_file():
                return path.stat().st_size
        except OSError as error:
            raise DiskError(f"{path}: cannot be looked at: {error.strerror}", path=path) from error
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        try:
            return iter([entry.name for entry in self._folder.iterdir() if entry.is_file()])
        except OSError as error:
            raise DiskError(f"{self._folder}: cannot be listed: {error.strerror}", path=self._folder) from error

    def __len__(self) -> int:
        return sum(1 for _ in self)


class MemorySource:
    """Bytes in memory as a byte source."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self._content = memoryview(content)

    @property
    def size(self) -> int:
        return len(self._content)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        _check_range(self, offset, len(buffer))
        buffer[:] = self._content[offset : offset + len(buffer)]

    def close(self) -> None:
        """Nothing is held open."""


class Concatenation:
    """Several sources, read as if they were one file: split parts that need not be joined on disk."""

    def __init__(self, name: str, parts: Sequence[ByteSource]) -> None:
        self.name = name
        self._parts = tuple(parts)
        self._starts = (0, *accumulate(part.size for part in self._parts))

    @property
    def size(self) -> int:
        return self._starts[-1]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        for number, start, count in self._cut(offset, len(buffer)):
            self._parts[number].read_into(start, buffer[done : done + count])
            done += count

    def close(self) -> None:
        """Close the parts."""
        for part in self._parts:
            part.close()

    def _cut(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Each part that the range touches, with the range inside of it: (number of the part, offset, length)."""
        _check_range(self, offset, length)
        number = bisect_right(self._starts, offset) - 1
        while length > 0:
            inside = offset - self._starts[number]
            count = min(length, self._parts[number].size - inside)
            if count:
                yield number, inside, count
            offset, length, number = offset + count, length - count, number + 1


class JoinedFiles(Concatenation):
    """A concatenation of parts that all lie in files, so that the kernel can copy it too."""

    def __init__(self, name: str, parts: Sequence[FileBacked]) -> None:
        super().__init__(name, parts)
        self._files = tuple(parts)

    def spans(self, offset: int, length: int) -> Iterator[FileSpan]:
        for number, start, count in self._cut(offset, length):
            yield from self._files[number].spans(start, count)


def join(name: str, parts: Sequence[ByteSource]) -> Concatenation:
    """The parts as one source, which is backed by files if all of them are. Closing it closes them."""
    files = [part for part in parts if isinstance(part, FileBacked)]
    return JoinedFiles(name, files) if len(files) == len(parts) else Concatenation(name, parts)


def _check_range(source: ByteSource, offset: int, length: int) -> None:
    if offset < 0 or offset + length > source.size:
        raise DiskError(f"{source.name}: has {source.size} bytes, so bytes {offset}..{offset + length} are not there")
