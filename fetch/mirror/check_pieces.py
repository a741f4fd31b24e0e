"""Pieces from mirrors, hashed before they are put into the torrent, which hashes them again; and what follows for who
served them.

The torrent could do it alone, but it cannot tell whose bytes were wrong, and once in twenty runs a piece that had
failed there was never looked at again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Event, RLock

from magnetar.byte_source import MemorySource
from magnetar.fetch.mirror.read_pieces import Interrupted
from magnetar.fetch.mirror.schedule import Choice
from magnetar.fetch.mirror.source import Source
from magnetar.fetch.swarm.protocol import Intake
from magnetar.fetch.torrent.file_digests import PieceDigest

LOOK_AGAIN = 0.02  # seconds, while a reader waits for room


@dataclass(frozen=True, slots=True)
class _Unproven:
    """How many bytes of a piece each mirror served, and its size in all."""

    served: Mapping[Source, int]
    size: int


class Proving:
    """Hands pieces over and settles what became of them. Safe to use from several threads, until ``close``.

    ``digests`` has what each piece must hash to. ``most`` bytes may wait in the torrent, or one piece. ``tell`` takes
    what the user should hear.
    """

    def __init__(
        self,
        intake: Intake,
        choice: Choice,
        digests: Mapping[int, PieceDigest],
        most: int,
        stop: Event,
        tell: Callable[[str], None],
    ) -> None:
        self._intake = intake
        self._choice = choice
        self._digests = digests
        self._most = most
        self._stop = stop
        self._tell = tell
        self._lock = RLock()
        self._claimed: set[int] = set()
        self._waiting: dict[int, _Unproven] = {}

    def claim(self, pieces: Collection[int]) -> None:
        """Keep pieces from the peers."""
        with self._lock:
            if not self._stop.is_set():
                self._claimed.update(pieces)
                self._intake.reserve(pieces)

    def give_back(self, pieces: Collection[int]) -> None:
        """Leave pieces to the peers again."""
        with self._lock:
            if not self._stop.is_set():
                self._release(pieces)

    def hand_over(self, piece: int, content: bytes, served: Mapping[Source, int]) -> bool:
        """Put a claimed piece into the torrent and wait for room for another, or find that it is wrong, and say so.

        ``served`` has the bytes that each mirror gave to it. Raises ``Interrupted``.
        """
        unproven = _Unproven(served, len(content))
        good = self._digests[piece].fits(MemorySource(f"piece {piece}", content))
        with self._lock:
            if self._stop.is_set():
                raise Interrupted
            if not good:
                self._judge(piece, unproven, good=False)
                return False
            self._waiting[piece] = unproven
            self._intake.put(piece, content)
        while self._is_full():
            self.settle()
            if self._stop.wait(LOOK_AGAIN):
                raise Interrupted
        return True

    def settle(self) -> None:
        """Credit the mirrors of pieces that were found good; drop the one that served a bad piece."""
        with self._lock:
            verdicts = {piece: self._intake.verdict(piece) for piece in self._waiting}
            for piece, good in verdicts.items():
                if good is not None:
                    self._judge(piece, self._waiting.pop(piece), good=good)
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
            return sum(unproven.size for unproven in self._waiting.values()) > self._most

    def _judge(self, piece: int, unproven: _Unproven, *, good: bool) -> None:
        if good:
            for source, count in unproven.served.items():
                source.succeeded(count)
            return
        sources = frozenset(unproven.served)
        self._choice.refute(piece, sources)
        if len(sources) == 1:
            (source,) = sources
            self._tell(source.drop(f"what it serves as {source.mirror.path} failed its hash"))
        else:
            names = ", ".join(sorted(str(source) for source in sources))
            self._tell(f"piece {piece} failed its hash: one of these mirrors serves other bytes: {names}")
