"""Memory for tensors that come and go: what one leaves, the next is read into, as new memory is cleared first."""

import weakref
from collections import deque
from typing import Any

import numpy as np

from magnetar.convert.read.uncached_file import PAGE

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

WORTH_IT = 1 << 20
"""Bytes from which on memory is used again."""

WASTE = 4
"""How many times larger than what is asked for the memory may be."""


class Recycler:
    """Lends memory, and takes it back by itself when nothing refers to it any more. For any thread."""

    def __init__(self) -> None:
        self._free: deque[Bytes] = deque()

    def lend(self, nbytes: int, offset: int = 0) -> Bytes:
        """Just so many bytes, with anything in them; they are free again when the array, and all tensors on it, are.

        They lie in their page as the byte at ``offset`` of a file lies in its own: then a disk can write them there.
        """
        if nbytes < WORTH_IT:
            return np.empty(nbytes, np.uint8)
        memory = self._find(nbytes + PAGE)
        start = (offset - memory.ctypes.data) % PAGE
        lent = memory[start : start + nbytes]
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return lent

    def _find(self, nbytes: int) -> Bytes:
        """Free memory that fits; if there is none, new memory, and what is free is given back to the system."""
        for _ in range(len(self._free)):
            memory = self._free.popleft()
            if nbytes <= len(memory) <= WASTE * nbytes:
                return memory
            self._free.append(memory)
        self._free.clear()
        return np.empty(nbytes, np.uint8)
