"""Append to a large file past the page cache, digested by one thread while another writes.

Through the cache, every 4 KiB costs a page to take, to fill and to write back. The file pushes the source out of
memory, and is later read back from memory in place of the disk. Direct writes take a third of the processor time and,
until all bytes are on the disk, three quarters of the wall time.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from magnetar.byte_source import FileSpan, LocalFile, new_buffer, read_bytes
from magnetar.convert.write.copy_range import copy_span, is_direct, write_at
from magnetar.convert.write.journal import WrittenFile

PAGE = 4096
"""Bytes. Direct writes are aligned to this: no disk has larger blocks."""

BUFFER = 4 << 20
BUFFERS = 3
"""One is being filled, one is being digested and written, one is ready: no thread has to wait for another."""

READ_AT_ONCE = 1 << 20


@dataclass(slots=True)
class Prefix:
    """The beginning of a file that is on the disk: its size, its running SHA-256, and the bytes after its last page."""

    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    tail: bytes = b""


def read_prefix(path: Path, size: int, moved: Callable[[int], None]) -> Prefix:
    """Digest the first ``size`` bytes of a file, and call ``moved`` with the count after each part.

    Raises ``UsageError`` or ``DiskError`` if they cannot be read.
    """
    digest = hashlib.sha256()
    buffer = new_buffer(READ_AT_ONCE)
    with LocalFile(path) as opened:
        for start in range(0, size, READ_AT_ONCE):
            block = buffer[: min(READ_AT_ONCE, size - start)]
            opened.read_into(start, block)
            digest.update(block)
            moved(len(block))
        return Prefix(size, digest, read_bytes(opened, size - size % PAGE, size % PAGE))


class Sink:
    """Appends to an open file, after its ``prefix``. ``digested``: take a SHA-256 of it all.

    Methods raise ``OSError``. Bytes are certainly on the disk only after ``settle`` or ``finish``.
    """

    def __init__(self, descriptor: int, prefix: Prefix | None = None, *, digested: bool = True) -> None:
        self._descriptor = descriptor
        self._digested = digested
        prefix = prefix or Prefix()
        self._digest = prefix.digest
        self._digesting, self._writing = ThreadPoolExecutor(1, "digest"), ThreadPoolExecutor(1, "write")
        self._free = deque(new_buffer(BUFFER) for _ in range(BUFFERS))
        self._busy: deque[tuple[memoryview, list[Future[Any]]]] = deque()
        self._buffer = self._free.pop()
        self._lent: memoryview | None = None
        self._position = self._filled = self._digested_to = 0
        self._continue(prefix.size, prefix.tail)

    @property
    def size(self) -> int:
        """The size of the file, with the bytes that are still on their way to the disk."""
        return self._position + self._filled

    @property
    def direct(self) -> bool:
        """Whether the file is written past the page cache."""
        return is_direct(self._descriptor)

    def lend(self, length: int) -> memoryview:
        """Memory for at most ``length`` of the next bytes, at least one. To append it, filled, takes no copy."""
        if self._filled == BUFFER:
            self._hand_over(0)
        self._lent = self._buffer[self._filled : min(self._filled + length, BUFFER)]
        return self._lent

    def append(self, content: bytes | memoryview) -> None:
        """Append bytes. Memory that was just lent must be appended as it is, and is not copied."""
        if content is self._lent:
            self._filled += len(content)
            self._lent = None
            return
        rest = memoryview(content)
        while rest:
            room = self.lend(len(rest))
            room[:] = rest[: len(room)]
            self.append(room)
            rest = rest[len(room) :]

    def copy(self, span: FileSpan) -> None:
        """Append bytes of another file, inside the kernel if it can. The file then has no digest."""
        self._drain()
        os.lseek(self._descriptor, self.size, os.SEEK_SET)
        copy_span(span, self._descriptor)
        self._digested = False
        self._position, self._filled = self.size + span.length, 0

    def settle(self) -> WrittenFile:
        """Bring all that was appended to the disk, and return its size and digest."""
        self._drain()
        os.fsync(self._descriptor)
        return self._describe()

    def finish(self) -> WrittenFile:
        """The same, and cut the file to its size."""
        self._drain()
        os.ftruncate(self._descriptor, self.size)
        os.fsync(self._descriptor)
        return self._describe()

    def close(self) -> None:
        """End both threads. What they have not begun is dropped."""
        for threads in (self._digesting, self._writing):
            threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _describe(self) -> WrittenFile:
        return WrittenFile(self.size, self._digest.copy().hexdigest() if self._digested else "")

    def _hand_over(self, padding: int) -> None:
        """Give the buffer to both threads, and take a free one; if there is none, wait for the oldest."""
        filled = self._buffer[: self._filled + padding]
        jobs: list[Future[Any]] = [self._writing.submit(write_at, self._descriptor, filled, self._position)]
        if self._digested:
            jobs.append(self._digesting.submit(self._digest.update, self._buffer[self._digested_to : self._filled]))
        self._busy.append((self._buffer, jobs))
        self._position += self._filled
        self._filled = self._digested_to = 0
        if not self._free:
            self._await_oldest()
        self._buffer = self._free.popleft()

    def _await_oldest(self) -> None:
        buffer, jobs = self._busy.popleft()
        for job in jobs:
            job.result()
        self._free.append(buffer)

    def _drain(self) -> None:
        """Write all bytes, the last page filled up with zeros, and continue from the beginning of that page."""
        size, over = self.size, self._filled % PAGE
        tail = bytes(self._buffer[self._filled - over : self._filled])
        padding = -over % PAGE
        self._buffer[self._filled : self._filled + padding] = bytes(padding)
        if self._filled:
            self._hand_over(padding)
        while self._busy:
            self._await_oldest()
        self._continue(size, tail)

    def _continue(self, size: int, tail: bytes) -> None:
        """Continue at ``size``. ``tail``, the bytes after the last whole page, is in the buffer, and digested."""
        self._position = size - len(tail)
        self._buffer[: len(tail)] = tail
        self._filled = self._digested_to = len(tail)
