"""One mirror of one file: reading ranges of it, and how it has done so far."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import accumulate
from threading import Lock

from magnetar.errors import OutsideError
from magnetar.fetch.http.client import Answer, Client, HttpFailed
from magnetar.fetch.link.urls import shown
from magnetar.fetch.request.mirrors import FileMirror

LONGEST_BACKOFF = 60.0  # seconds
TOLD_AT = 3  # failures in a row, before the user hears of a mirror that may yet recover
MOST_RESTARTS = 6  # of reading a file from its beginning


class NoRanges(OutsideError):
    """The server answers from the file's beginning only, so it must be read from there."""


class Source:
    """A mirror of a file of ``size`` bytes. ``dropped`` says why it is not asked any more; empty while it is.

    ``ranged`` says whether the server gives ranges; None until that was seen. Without, one reader goes from the file's
    beginning to its end.
    """

    def __init__(self, mirror: FileMirror, size: int, client: Client) -> None:
        self.mirror = mirror
        self.size = size
        self.ranged: bool | None = None
        self.dropped = ""
        self.readers = 0
        self.received = 0
        self._client = client
        self._lock = Lock()
        self._ends: tuple[int, ...] = ()  # where each part ends in the file
        self._led_to: dict[str, str] = {}  # redirections take time, and signed URLs last for hours
        self._failures = 0
        self._not_before = 0.0

    def __str__(self) -> str:
        return shown(self.mirror.url)

    @property
    def usable(self) -> bool:
        """Whether it may be asked now."""
        return not self.dropped and time.monotonic() >= self._not_before and (self.ranged or not self.readers)

    def chunks(self, begin: int, end: int, pace: Callable[[int], None], *, skip: bool = False) -> Generator[bytes]:
        """The file's bytes from ``begin`` to before ``end``. ``pace`` is called with the size of each chunk read.

        Raises ``HttpFailed``, ``NotAllowed``; ``NoRanges`` if they can be had only by skipping all that comes before
        them, unless ``skip``.
        """
        start = 0
        for url, stop in zip(self.mirror.urls, self._part_ends(), strict=True):
            first, last = max(begin, start) - start, min(end, stop) - start
            if first < last:
                shift = self.mirror.offset
                with closing(self._open(url, first + shift, last + shift - 1)) as answer:
                    self._check_size(answer, stop - start + shift)
                    self._skip_to(first + shift, answer, pace, allowed=skip)
                    for chunk in answer.chunks(last - first):
                        pace(len(chunk))
                        yield chunk
            start = stop

    def succeeded(self, count: int) -> None:
        """Note that ``count`` bytes of it were good."""
        self.received += count
        if self.ranged is not False:
            self._failures = 0

    def failed(self, error: OutsideError) -> str:
        """Note a failure: wait, ever longer, or ask no more. Returns what the user should hear; mostly nothing."""
        self._failures += 1
        passing = isinstance(error, HttpFailed) and error.passing
        if not passing or (self.ranged is False and self._failures >= MOST_RESTARTS):
            return self.drop(error.message)
        pause = min(LONGEST_BACKOFF, 2.0 ** (self._failures - 1))
        if isinstance(error, HttpFailed):
            pause = max(pause, error.pause)
        self._not_before = time.monotonic() + pause
        return f"mirror {self}: {error.message}; it is asked again" if self._failures == TOLD_AT else ""

    def drop(self, reason: str) -> str:
        """Ask it no more. Returns what the user should hear: nothing if it was dropped before."""
        if self.dropped:
            return ""
        self.dropped = reason
        return f"mirror {self} is asked no more: {reason}"

    def _part_ends(self) -> tuple[int, ...]:
        if not self.mirror.parts:
            return (self.size,)
        with self._lock:
            if not self._ends:
                ends = tuple(accumulate(self._size_of(url) for url in self.mirror.urls))
                if ends[-1] != self.size:
                    raise HttpFailed(f"its parts have {ends[-1]:,} bytes, not the {self.size:,} of {self.mirror.path}")
                self._ends = ends
            return self._ends

    def _size_of(self, url: str) -> int:
        with closing(self._open(url, 0, 0)) as answer:
            if answer.total is None:
                raise HttpFailed(f"does not say how large {shown(url)} is")
            return answer.total

    def _skip_to(self, first: int, answer: Answer, pace: Callable[[int], None], *, allowed: bool) -> None:
        """Read up to byte ``first`` of what a server without ranges sends."""
        self.ranged = answer.partial
        if answer.partial:
            return
        if not allowed:
            raise NoRanges(f"{self} is served without ranges")
        for chunk in answer.chunks(first):
            pace(len(chunk))

    def _check_size(self, answer: Answer, size: int) -> None:
        """Another version, or a page that says sorry with status 200, has another length."""
        if answer.total is None or answer.total == size or (self.mirror.offset and answer.total > size):
            return
        raise HttpFailed(f"has {answer.total:,} bytes where {self.mirror.path} needs {size:,}")

    def _open(self, url: str, first: int, last: int) -> Answer:
        known = self._led_to.pop(url, "")
        if known:
            try:
                answer = self._client.get(known, first, last)
                self._led_to[url] = known
                return answer
            except HttpFailed:
                pass  # a signed URL may have run out
        answer = self._client.get(url, first, last)
        if answer.url != url:
            self._led_to[url] = answer.url
        return answer
