"""A file read past the page cache: what is on the disk, not what memory still has of it."""

import mmap
import os
import threading
from pathlib import Path

from magnetar.errors import DiskError
from magnetar.ranges import LocalFile

PAGE = 4096
WINDOW = 4 << 20
"""Bytes read at once: without a cache nobody reads ahead."""


class UncachedFile(LocalFile):
    """A local file of which every thread reads a window at a time; best from front to back.

    Reading back what was just written through the cache would take its pages there first, which costs several times
    what the reading does, and throw out the source. Where the file system knows no such reads, the cache is used.
    """

    _windows = threading.local()
    """One for each thread, whatever file it reads: many files must not take more memory than one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._direct = _leave_cache(self._descriptor)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if not self._direct:
            super().read_into(offset, buffer)
            return
        done = 0
        while done < len(buffer):
            part = self._look(offset + done)[: len(buffer) - done]
            if not part:
                raise DiskError(f"{self.path}: ends at byte {offset + done}, {len(buffer) - done} bytes too early")
            buffer[done : done + len(part)] = part
            done += len(part)

    def _look(self, offset: int) -> memoryview:
        """What this thread's window holds from there on; it is moved if that is nothing."""
        window = self._windows
        if not hasattr(window, "memory"):
            window.memory = memoryview(mmap.mmap(-1, WINDOW))
        if getattr(window, "file", None) is not self:
            window.file, window.start, window.count = self, 0, 0
        if not window.start <= offset < window.start + window.count:
            window.count = 0
            start = offset - offset % PAGE
            try:
                window.start, window.count = start, os.preadv(self._descriptor, [window.memory], start)
            except OSError as error:
                raise DiskError(f"{self.path}: cannot be read at byte {start}: {error.strerror}") from error
        view: memoryview = window.memory[offset - window.start : window.count]
        return view


def _leave_cache(descriptor: int) -> bool:
    """Switch an open file to direct reads, if its file system has those."""
    if not hasattr(os, "O_DIRECT"):
        return False
    import fcntl  # there is none on Windows, nor such files

    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)
        os.preadv(descriptor, [mmap.mmap(-1, PAGE)], 0)
    except OSError:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
        return False
    return True
