"""Files that are read past the page cache, straight from the disk.

Reading through the cache takes a page, fills it and copies it for every 4 KiB. That takes several times the processor
time of a direct read, and pushes pages out that other programs will want again. It may also give back what memory still
holds of a file that was just written, where the question is what arrived on the disk.
"""

import os
import threading
from pathlib import Path

from magnetar.byte_source import LocalFile, new_buffer
from magnetar.errors import DiskError

PAGE = 4096
WINDOW = 4 << 20
"""Bytes that are read at once where they have to be copied. Without the cache, nobody reads ahead."""


class UncachedFile(LocalFile):
    """A local file that is read past the page cache; through the cache where the file system has no direct reads.

    A direct read needs memory at the same distance from the start of a page as the bytes have in the file. A buffer
    that lies so is filled directly. Any other is copied from a window, which is best moved from front to back.
    """

    _own = threading.local()
    """The window and two pages of each thread, shared by all files, so that many open files take no more memory."""

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
                what = f"{self.path}: ends at byte {offset + done}, {len(buffer) - done} bytes too early"
                raise DiskError(what, path=self.path)
            done += count

    def _fill(self, offset: int, buffer: memoryview) -> int:
        """Read whole pages into the buffer, and the cut pages at both ends by way of a page. Returns how many bytes."""
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
        """Copy what the window holds from ``offset`` on. Returns how many bytes."""
        part = self._view_window(offset)[: len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def _view_window(self, offset: int) -> memoryview:
        """What this thread's window holds from ``offset`` on. The window is moved there if it holds nothing of it."""
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
        """The two pages of this thread."""
        if not hasattr(self._own, "pages"):
            self._own.pages = new_buffer(2 * PAGE)
        return self._own.pages[:PAGE], self._own.pages[PAGE:]

    def _read_direct(self, parts: list[memoryview], start: int) -> int:
        try:
            return os.preadv(self._descriptor, parts, start)
        except OSError as error:
            what = f"{self.path}: cannot be read at byte {start}: {error.strerror}"
            raise DiskError(what, path=self.path) from error


MIN_DIRECT_BYTES = 64 << 10
"""For fewer bytes it is not worth asking whether they are in the cache."""

STRETCH = 16 << 20
"""Bytes that are asked about at once: the answer for one page is taken for all of them."""


class SparingFile(LocalFile):
    """A local file that is read once. What is in the page cache is read from there, the rest past the cache.

    So a cached file is read as fast as ever, and any other by direct reads, which leave the cache as it was. Where the
    system has no direct reads, or cannot tell what is cached, the cache is used.
    """

    _past: UncachedFile | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._cached: dict[int, bool] = {}
        past = UncachedFile(path)
        # Between the two calls, another file may have been put at that path.
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
        """Whether a stretch is in the page cache, judged by one page of it.

        Asking for a page brings it into the cache, so a random page is asked for. Else the next run would be misled.
        """
        if stretch not in self._cached:
            start = stretch * STRETCH
            pages = max(1, min(STRETCH, self.size - start) // PAGE)
            page = int.from_bytes(os.urandom(4), "little") % pages
            self._cached[stretch] = _is_cached(self._descriptor, start + page * PAGE)
        return self._cached[stretch]


def find_address(buffer: memoryview) -> int:
    """The address of writable memory."""
    import ctypes  # here, since most commands never read past the cache

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _is_cached(descriptor: int, offset: int) -> bool:
    """Whether a byte can be read without waiting for the disk; yes where the system cannot tell."""
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
    """Switch an open file to direct reads, and return whether its file system has those."""
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
