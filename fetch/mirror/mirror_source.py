"""One mirror of one file: reading ranges of it, and how it has done so far."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import accumulate
from threading import Lock

from magnetar.errors import OutsideError
from magnetar.events import MirrorDropped, Remarked
from magnetar.fetch.http.client import Answer, Client, HttpFailed
from magnetar.fetch.link.urls import host_of, shown
from magnetar.fetch.request.mirrors import FileMirror, Mirror

MAX_BACKOFF = 60.0
"""Seconds between two attempts, at most, unless the server asks for more."""
REMARK_AT = 3
"""Failures in a row after which a mirror that may yet recover is remarked on."""
MAX_RESTARTS = 6
"""Failures after which a mirror without ranges is dropped: each costs a reading from the file's beginning."""


class NoRanges(OutsideError):
    """The server answers from the file's beginning only, so it must be read from there."""


def dropped_mirror(mirror: Mirror, reason: str) -> MirrorDropped:
    """The event that says that a mirror is not asked any more. Its URL is told without queries and passwords."""
    return MirrorDropped(host_of(mirror.url), reason, shown(mirror.url))


class MirrorSource:
    """A mirror of a file of ``size`` bytes. ``dropped`` says why it is not asked any more; empty while it is asked.

    ``ranged`` says whether the server gives ranges; None until that was seen. Without ranges, one reader goes from the
    file's beginning to its end. ``readers`` read it now; ``received`` bytes from it were good.
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
        self._redirected: dict[str, str] = {}  # redirections take time, and signed URLs last for hours
        self._failures = 0
        self._not_before = 0.0

    def __str__(self) -> str:
        return shown(self.mirror.url)

    @property
    def usable(self) -> bool:
        """Whether it may be asked now. Until it is known to give ranges, it has one reader at most."""
        return not self.dropped and time.monotonic() >= self._not_before and (self.ranged or not self.readers)

    def chunks(self, begin: int, end: int, pace: Callable[[int], None], *, skip: bool = False) -> Generator[bytes]:
        """The file's bytes from ``begin`` to before ``end``. ``pace`` is called with the size of each chunk read.

        Raises ``HttpFailed``, ``NotAllowed``; ``NoRanges`` if the bytes can be had only by reading all that comes
        before them, unless ``skip`` says to do that.
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

    def failed(self, error: OutsideError) -> MirrorDropped | Remarked | None:
        """Note a failure: wait, ever longer, or drop the mirror. Returns what should be emitted; mostly nothing."""
        self._failures += 1
        passing = isinstance(error, HttpFailed) and error.passing
        if not passing or (self.ranged is False and self._failures >= MAX_RESTARTS):
            return self.drop(error.message)
        pause = min(MAX_BACKOFF, 2.0 ** (self._failures - 1))
        if isinstance(error, HttpFailed):
            pause = max(pause, error.pause)
        self._not_before = time.monotonic() + pause
        if self._failures == REMARK_AT:
            return Remarked(f"mirror {self}: {error.message}; it is asked again")
        return None

    def drop(self, reason: str) -> MirrorDropped | None:
        """Ask it no more. Returns the event to emit; None if it was dropped before."""
        if self.dropped:
            return None
        self.dropped = reason
        return dropped_mirror(self.mirror, reason)

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
        """Raise ``HttpFailed`` for another version of the file, or an error page with status 200, by its length."""
        if answer.total is None or answer.total == size or (self.mirror.offset and answer.total > size):
            return
        raise HttpFailed(f"has {answer.total:,} bytes where {self.mirror.path} needs {size:,}")

    def _open(self, url: str, first: int, last: int) -> Answer:
        known = self._redirected.pop(url, "")
        if known:
            try:
                answer = self._client.get(known, first, last)
                self._redirected[url] = known
                return answer
            except HttpFailed:
                pass  # a signed URL may have expired
        answer = self._client.get(url, first, last)
        if answer.url != url:
            self._redirected[url] = answer.url
        return answer
