"""A folder that counts the bytes that are read from it, and refuses to give more than a limit."""

from collections.abc import Mapping
from threading import Lock

from magnetar.byte_source import ByteSource, SourceFolder
from magnetar.errors import OutsideError


class TooMuchToRead(OutsideError):
    """More would have to be read than was allowed."""


class CountedFolder:
    """``folder``, of whose files at most ``limit`` bytes are read in all; without a limit they are only counted."""

    def __init__(self, folder: SourceFolder, limit: int | None = None) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = Lock()
        self.read = 0

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def sizes(self) -> Mapping[str, int]:
        return self._folder.sizes

    def __str__(self) -> str:
        return str(self._folder)

    def open(self, name: str) -> ByteSource:
        return _CountedSource(self._folder.open(name), self)

    def is_link(self, name: str) -> bool:
        return self._folder.is_link(name)

    def count(self, length: int) -> None:
        """Note that so many bytes are about to be read. Raises ``TooMuchToRead``."""
        with self._lock:
            if self._limit is not None and self.read + length > self._limit:
                raise TooMuchToRead(f"{self}: more than {self._limit:,} bytes would have to be read")
            self.read += length


class _CountedSource:
    def __init__(self, source: ByteSource, folder: CountedFolder) -> None:
        self._source = source
        self._folder = folder

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def size(self) -> int:
        return self._source.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._folder.count(len(buffer))
        self._source.read_into(offset, buffer)

    def close(self) -> None:
        self._source.close()
