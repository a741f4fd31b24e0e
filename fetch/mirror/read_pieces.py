"""Reading whole pieces from mirrors, at no more than a given pace."""

import time
from collections.abc import Generator, Mapping
from threading import Event, Lock

from magnetar.fetch.http.client import CHUNK
from magnetar.fetch.mirror.mirror_source import MirrorSource
from magnetar.fetch.torrent.piece_layout import PieceLayout, Span


class Interrupted(Exception):
    """The reading was stopped, because nobody needs it any more."""


class RateLimit:
    """Lets no more than ``limit`` bytes a second be read, what peers send included; None for no limit."""

    def __init__(self, limit: int | None, stop: Event) -> None:
        self._limit = limit
        self._stop = stop
        self._lock = Lock()
        self._left = 0.0
        self._refilled = time.monotonic()

    def note(self, count: int) -> None:
        """Take off bytes that came from elsewhere."""
        with self._lock:
            self._left -= count

    def spend(self, count: int) -> None:
        """Take off bytes that were read, and sleep until more may be read. Raises ``Interrupted``."""
        self.note(count)
        while self._limit and (lacking := self._seconds_lacking(self._limit)) > 0 and not self._stop.is_set():
            self._stop.wait(min(lacking, 0.25))
        if self._stop.is_set():
            raise Interrupted

    def _seconds_lacking(self, limit: int) -> float:
        """Seconds until more may be read."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._left + (now - self._refilled) * limit, CHUNK)
            self._refilled = now
            return -self._left / limit


class Reading:
    """Reads consecutive pieces, up to ``last``, with one request for each file that they touch.

    ``source`` is the mirror being read. ``skip`` as in ``MirrorSource.chunks``.
    """

    def __init__(self, layout: PieceLayout, last: int, rate: RateLimit, *, skip: bool) -> None:
        self.source: MirrorSource | None = None
        self._layout = layout
        self._last = last
        self._rate = rate
        self._skip = skip
        self._streams: dict[MirrorSource, _ChunkStream] = {}

    def content(self, piece: int, sources: Mapping[str, MirrorSource]) -> bytes:
        """The content of a piece, not checked yet. ``sources`` has a mirror for each of its files.

        Raises as ``MirrorSource.chunks`` does, and ``Interrupted``.
        """
        return b"".join(self._read_span(span, sources) for span in self._layout.spans(piece))

    def close(self) -> None:
        """End all requests."""
        for stream in self._streams.values():
            stream.close()

    def _read_span(self, span: Span, sources: Mapping[str, MirrorSource]) -> bytes:
        if not span.path:
            return bytes(span.length)
        source = self.source = sources[span.path]
        stream = self._streams.get(source)
        if stream is None or stream.position != span.offset:
            if stream is not None:
                stream.close()
            stream = self._streams[source] = self._open(source, span)
        return stream.read(span.length)

    def _open(self, source: MirrorSource, span: Span) -> "_ChunkStream":
        def pace(count: int) -> None:
            self._rate.spend(count)
            if source.dropped:
                raise Interrupted

        end = self._layout.end_in_file(span.path, self._last)
        return _ChunkStream(source.chunks(span.offset, end, pace, skip=self._skip), span.offset)


class _ChunkStream:
    """An iterator of chunks as a stream. ``position`` is that of its next byte in the file."""

    def __init__(self, chunks: Generator[bytes], position: int) -> None:
        self.position = position
        self._chunks = chunks
        self._rest = b""

    def read(self, length: int) -> bytes:
        got, have = [self._rest], len(self._rest)
        while have < length:
            got.append(next(self._chunks))
            have += len(got[-1])
        content = b"".join(got)
        self._rest = content[length:]
        self.position += length
        return content[:length]

    def close(self) -> None:
        self._chunks.close()
