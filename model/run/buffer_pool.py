"""Memory for tensors that come and go: it is used again, because the system clears new memory first, which costs."""

import weakref
from collections import deque
from typing import Any

import numpy as np

from magnetar.convert.read.uncached_file import PAGE

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

MIN_POOLED_BYTES = 1 << 20
"""Smaller pieces of memory are not used again."""

MAX_SIZE_RATIO = 4
"""How many times larger than what is asked for the memory may be that is lent."""


class BufferPool:
    """Lends memory, and takes it back by itself when nothing refers to it any more. Any thread may use it."""

    def __init__(self) -> None:
        self._free: deque[Bytes] = deque()

    def lend(self, nbytes: int, offset: int = 0) -> Bytes:
        """An array of ``nbytes`` bytes with arbitrary content. It is free again when it, and all tensors on it, are.

        Its first byte lies in its page as the byte at ``offset`` of a file does in its own, as direct reads need it.
        """
        if nbytes < MIN_POOLED_BYTES:
            return np.empty(nbytes, np.uint8)
        memory = self._find_memory(nbytes + PAGE)
        start = (offset - memory.ctypes.data) % PAGE
        lent = memory[start : start + nbytes]
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return lent

    def _find_memory(self, nbytes: int) -> Bytes:
        """Free memory that fits. If there is none, all free memory goes back to the system, and new memory is taken."""
        for _ in range(len(self._free)):
            memory = self._free.popleft()
            if nbytes <= len(memory) <= MAX_SIZE_RATIO * nbytes:
                return memory
            self._free.append(memory)
        self._free.clear()
        return np.empty(nbytes, np.uint8)
