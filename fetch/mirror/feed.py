"""Feeding a torrent from mirrors, side by side with its swarm: the threads, and what the owner of the transfer does.

To be imported only where there are mirrors, because it brings the HTTP client.
"""

from threading import Thread
from time import monotonic

from magnetar.events import Emit, Remarked, Skipped
from magnetar.fetch.link.urls import host_of
from magnetar.fetch.mirror.mirror_pool import MAX_PIECE_MEMORY, MirrorPool, open_pool
from magnetar.fetch.mirror.reader_thread import MirrorReader
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.protocol import Intake, Status
from magnetar.fetch.torrent.known_torrent import KnownTorrent

MAX_READERS = 4
"""Threads that read from mirrors."""
PARTING = 0.25
"""Seconds for the threads to end in. They touch nothing afterwards, whenever they end."""


class MirrorFeed:
    """The reading from the mirrors of one torrent. ``tend`` and ``close`` are for the thread that owns the transfer."""

    def __init__(self, pool: MirrorPool, emit: Emit) -> None:
        self._pool = pool
        self._emit = emit
        self._threads: list[Thread] = []
        self._crash: BaseException | None = None
        self._from_peers = 0

    @classmethod
    def open(cls, intake: Intake, torrent: KnownTorrent, options: FetchOptions, emit: Emit) -> "MirrorFeed":
        """Make ready to read from ``options.mirrors``. Nobody is asked before ``tend`` is called."""
        pool = open_pool(intake, torrent, options)
        if not pool.knows_all_hashes:
            reason = "a link brings no hashes of pieces of version 2, so mirrors serve only files of one piece"
            emit(Skipped("files of several pieces, from mirrors", reason, hint="give the .torrent file, not its link"))
        return cls(pool, emit)

    def tend(self, status: Status) -> None:
        """Emit what happened, settle what was hashed, and begin to read once the torrent knows what it lacks."""
        if self._crash is not None:
            raise self._crash
        from_peers = status.downloaded - self._pool.intake.received
        self._pool.rate.note(from_peers - self._from_peers)
        self._from_peers = from_peers
        self._pool.checked.settle()
        self._emit_news()
        if status.phase == "downloading" and not self._threads:
            self._start_threads()

    def close(self) -> None:
        """Stop reading. Nothing is put into the torrent after this, and nothing is kept from its peers."""
        self._pool.stop.set()
        self._pool.client.close()
        end = monotonic() + PARTING
        for thread in self._threads:
            thread.join(max(0.0, end - monotonic()))
        self._pool.checked.close()
        self._emit_news()
        served = [source for source in self._pool.schedule.sources if source.received]
        if served:
            hosts = ", ".join(sorted({host_of(source.mirror.url) for source in served}))
            amount = sum(source.received for source in served)
            self._emit(Remarked(f"{amount:,} bytes came from mirrors: {hosts}"))

    def summary(self) -> str:
        """What became of each mirror, in one paragraph."""
        sources = self._pool.schedule.sources
        return (
            "; ".join(f"{source}: {source.dropped or f'{source.received:,} bytes'}" for source in sources)
            or "none was of use"
        )

    def _emit_news(self) -> None:
        while self._pool.news:
            self._emit(self._pool.news.popleft())

    def _start_threads(self) -> None:
        reader = MirrorReader(self._pool)

        def work() -> None:
            try:
                reader.work()
            except BaseException as error:  # a bug: raised again by the thread that tends
                self._crash = error

        count = max(1, min(MAX_READERS, MAX_PIECE_MEMORY // 2 // self._pool.layout.piece_length))
        self._threads = [Thread(target=work, name=f"mirror {number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()
