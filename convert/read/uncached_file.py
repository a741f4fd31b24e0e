"""Files read past the page cache: what is on the disk, not what memory still has of it.

Reading through the cache takes a page, fills it and copies it for every 4 KiB, several times the processor time of a
direct read, and throws out what others will want again.
"""

import os
import threading
from pathlib import Path

from magnetar.byte_source import LocalFile, new_buffer
from magnetar.errors import DiskError

PAGE = 4096
WINDOW = 4 << 20
"""Bytes read at once where they are copied: without a cache nobody reads ahead."""


class UncachedFile(LocalFile):
    """A local file, read into memory that lies in its pages as the bytes do in theirs, or else by a window.

    The window is each thread's own, and best moved from front to back. Where the file system knows no such reads, the
    cache is used.
    """

    _own = threading.local()
    """Memory of each thread, whatever file it reads: many files must not take more than one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.direct = _leave_cache(self._descriptor)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if not self.direct:
            super().read_into(offset, buffer)
            return
        straight = len(buffer) >= PAGE and (find_address(buffer) - offset) % PAGE == 0
        done = 0
        while done < len(buffer):
            take = self._fill if straight else self._copy
            count = take(offset + done, buffer[done:])
            if count <= 0:
                raise DiskError(f"{self.path}: ends at byte {offset + done}, {len(buffer) - done} bytes too early")
            done += count

    def _fill(self, offset: int, buffer: memoryview) -> int:
        """Read whole pages to where they belong, and the broken ones at both ends by way of a page; how many bytes."""
        first, last = self._pages()
        before, after = offset % PAGE, (offset + len(buffer)) % PAGE
        lead = min(-offset % PAGE, len(buffer))
        inner = buffer[lead : max(lead, len(buffer) - after)]
        parts = [part for part, wanted in ((first, lead), (inner, len(inner)), (last, after)) if wanted]
        count = self._read_direct(parts, offset - before) - before
        buffer[:lead] = first[before : before + lead]
        rest = buffer[lead + len(inner) :]
        rest[:] = last[: len(rest)]
        return min(count, len(buffer))

    def _copy(self, offset: int, buffer: memoryview) -> int:
        """Copy what the window holds from there on; how many bytes."""
        part = self._look(offset)[: len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def _look(self, offset: int) -> memoryview:
        """What this thread's window holds from there on; it is moved if that is nothing."""
        window = self._own
        if not hasattr(window, "memory"):
            window.memory = new_buffer(WINDOW)
        if getattr(window, "file", None) is not self:
            window.file, window.start, window.count = self, 0, 0
        if not window.start <= offset < window.start + window.count:
            window.count = 0
            window.start = offset - offset % PAGE
            window.count = self._read_direct([window.memory], window.start)
        view: memoryview = window.memory[offset - window.start : window.count]
        return view

    def _pages(self) -> tuple[memoryview, memoryview]:
        """Two pages of this thread's own."""
        if not hasattr(self._own, "pages"):
            self._own.pages = new_buffer(2 * PAGE)
        return self._own.pages[:PAGE], self._own.pages[PAGE:]

    def _read_direct(self, parts: list[memoryview], start: int) -> int:
        try:
            return os.preadv(self._descriptor, parts, start)
        except OSError as error:
            raise DiskError(f"{self.path}: cannot be read at byte {start}: {error.strerror}") from error


MIN_DIRECT_BYTES = 64 << 10
"""Bytes from which on it is worth asking whether they are in the cache."""

STRETCH = 16 << 20
"""What is asked about at once: the answer for one page is taken to be that for all."""


class SparingFile(LocalFile):
    """A local file that is read once: what is in the page cache comes from there, the rest past it.

    So a file that is there is read as fast as ever, and one that is not is read at the price of direct reads and
    leaves the cache as it was. Where that cannot be had, or not be told, the cache is used.
    """

    _past: UncachedFile | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._cached: dict[int, bool] = {}
        past = UncachedFile(path)
        # between the two calls another file may have come to that path
        if past.direct and os.path.samestat(os.fstat(self._descriptor), os.fstat(past._descriptor)):
            self._past = past

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self._past is None or len(buffer) < MIN_DIRECT_BYTES:
            super().read_into(offset, buffer)
            return
        done = 0
        while done < len(buffer):
            stretch, inside = divmod(offset + done, STRETCH)
            part = buffer[done : done + STRETCH - inside]
            read_into = super().read_into if self._is_cached(stretch) else self._past.read_into
            read_into(offset + done, part)
            done += len(part)

    def close(self) -> None:
        super().close()
        if self._past is not None:
            self._past.close()

    def _is_cached(self, stretch: int) -> bool:
        """Whether memory has a stretch, going by one of its pages.

        Asking for a page brings it there, so it is another one each time, or the next to ask would be misled.
        """
        if stretch not in self._cached:
            start = stretch * STRETCH
            pages = max(1, min(STRETCH, self.size - start) // PAGE)
            page = int.from_bytes(os.urandom(4), "little") % pages
            self._cached[stretch] = _is_cached(self._descriptor, start + page * PAGE)
        return self._cached[stretch]


def find_address(buffer: memoryview) -> int:
    """Where writable memory lies."""
    import ctypes  # most commands never read so

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _is_cached(descriptor: int, offset: int) -> bool:
    """Whether a byte can be had without waiting for the disk; yes where that cannot be told."""
    if not hasattr(os, "RWF_NOWAIT"):
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a file system that does not know the question
        return True
    return True


def _leave_cache(descriptor: int) -> bool:
    """Switch an open file to direct reads, if its file system has those."""
    if not hasattr(os, "O_DIRECT"):
        return False
    import fcntl  # there is none on Windows, nor such files

    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)
        os.preadv(descriptor, [new_buffer(PAGE)], 0)
    except OSError:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
        return False
    return True
