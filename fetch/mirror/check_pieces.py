"""Pieces from mirrors, hashed before they are put into the torrent, and what follows for the mirrors that served them.

The torrent hashes each piece again. It could do it alone, but it cannot tell whose bytes were wrong, and about once in
twenty runs a piece that had failed there was never looked at again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Event, RLock

from magnetar.byte_source import MemorySource
from magnetar.events import MirrorDropped, Remarked
from magnetar.fetch.mirror.mirror_source import MirrorSource
from magnetar.fetch.mirror.read_pieces import Interrupted
from magnetar.fetch.mirror.schedule import Schedule
from magnetar.fetch.swarm.protocol import Intake
from magnetar.fetch.torrent.file_digests import PieceDigest

LOOK_AGAIN = 0.02
"""Seconds between two looks, while a reader waits for room."""

MirrorNews = MirrorDropped | Remarked
"""What happened to a mirror, to be emitted by the thread that owns the transfer."""


@dataclass(frozen=True, slots=True)
class _HandedOver:
    """A piece of ``size`` bytes that was put into the torrent; ``served`` has the bytes that each mirror gave to it."""

    served: Mapping[MirrorSource, int]
    size: int


class CheckedIntake:
    """Puts pieces into a torrent, and credits or drops the mirrors that served them.

    Safe to use from several threads, until ``close``. ``digests`` has the hash that each piece must have. Up to
    ``max_bytes``, or one piece, may wait in the torrent to be hashed. ``tell`` is called with what should be emitted.
    """

    def __init__(
        self,
        intake: Intake,
        schedule: Schedule,
        digests: Mapping[int, PieceDigest],
        max_bytes: int,
        stop: Event,
        tell: Callable[[MirrorNews], None],
    ) -> None:
        self._intake = intake
        self._schedule = schedule
        self._digests = digests
        self._max_bytes = max_bytes
        self._stop = stop
        self._tell = tell
        self._lock = RLock()
        self._claimed: set[int] = set()
        self._waiting: dict[int, _HandedOver] = {}

    def claim(self, pieces: Collection[int]) -> None:
        """Keep pieces from the peers, so that nothing is fetched twice."""
        with self._lock:
            if not self._stop.is_set():
                self._claimed.update(pieces)
                self._intake.reserve(pieces)

    def give_back(self, pieces: Collection[int]) -> None:
        """Leave pieces to the peers again."""
        with self._lock:
            if not self._stop.is_set():
                self._release(pieces)

    def hand_over(self, piece: int, content: bytes, served: Mapping[MirrorSource, int]) -> bool:
        """Put a claimed piece into the torrent, and wait until there is room for another. False if its hash is wrong.

        ``served`` has the bytes that each mirror gave to it. Raises ``Interrupted``.
        """
        handed_over = _HandedOver(served, len(content))
        good = self._digests[piece].fits(MemorySource(f"piece {piece}", content))
        with self._lock:
            if self._stop.is_set():
                raise Interrupted
            if not good:
                self._blame(piece, frozenset(served))
                return False
            self._waiting[piece] = handed_over
            self._intake.put(piece, content)
        while self._is_full():
            self.settle()
            if self._stop.wait(LOOK_AGAIN):
                raise Interrupted
        return True

    def settle(self) -> None:
        """Ask what became of the pieces in the torrent. Credit the mirrors of good ones; blame those of bad ones."""
        with self._lock:
            verdicts = {piece: self._intake.verdict(piece) for piece in self._waiting}
            for piece, good in verdicts.items():
                if good is None:
                    continue
                served = self._waiting.pop(piece).served
                if good:
                    for source, count in served.items():
                        source.succeeded(count)
                else:
                    self._blame(piece, frozenset(served))
            self._release([piece for piece, good in verdicts.items() if good is not None])

    def close(self) -> None:
        """Settle for the last time, and leave everything to the peers. ``stop`` must have been set."""
        with self._lock:
            self.settle()
            self._release(list(self._claimed))
            self._waiting.clear()

    def _release(self, pieces: Collection[int]) -> None:
        self._claimed.difference_update(pieces)
        self._intake.release(pieces)

    def _is_full(self) -> bool:
        with self._lock:
            return sum(piece.size for piece in self._waiting.values()) > self._max_bytes

    def _blame(self, piece: int, sources: frozenset[MirrorSource]) -> None:
        """Drop the mirror that served a bad piece. If there were several, none is dropped: see ``Schedule.refute``."""
        self._schedule.refute(piece, sources)
        if len(sources) == 1:
            (source,) = sources
            dropped = source.drop(f"what it serves as {source.mirror.path} failed its hash")
            if dropped:
                self._tell(dropped)
        else:
            names = ", ".join(sorted(str(source) for source in sources))
            self._tell(Remarked(f"piece {piece} failed its hash: one of these mirrors serves other bytes: {names}"))
