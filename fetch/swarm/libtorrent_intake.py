"""Putting pieces that do not come from peers into a libtorrent torrent.

How libtorrent behaves there was found by experiment: see ``docs/mirrors.md``.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any

import libtorrent

lt: Any = libtorrent  # its stubs are partly wrong

_REQUESTED = 1  # the state of a block that a peer was asked for


class LibtorrentIntake:
    """A :class:`magnetar.fetch.swarm.protocol.Intake` for one torrent.

    A piece is kept from peers by priority 0. A torrent of which all that is left has priority 0 counts as finished,
    and would part with its peers; ``keep_peers`` is called before the first reservation to prevent that.
    """

    def __init__(self, handle: Any, keep_peers: Callable[[], None]) -> None:
        self._handle = handle
        self._keep_peers = keep_peers
        self._lock = Lock()
        self._priorities: dict[int, int] = {}  # what each reserved piece had before
        self._refused: set[int] = set()
        self._wanted = 0
        self._received = 0

    @property
    def received(self) -> int:
        return self._received

    def unclaimed(self, *, even_requested: bool = False) -> Mapping[int, int]:
        # In this order: a piece that arrives between the two calls gets its priority back only after it is here.
        wanted = self._handle.get_piece_priorities()
        here = self._handle.status(lt.torrent_handle.query_pieces).pieces
        peers = self._handle.piece_availability() or [0] * len(wanted)
        requested = set() if even_requested else set(self._requested())
        return {
            piece: peers[piece]
            for piece, priority in enumerate(wanted)
            if priority and piece not in requested and not (here and here[piece])
        }

    def reserve(self, pieces: Iterable[int]) -> None:
        with self._lock:
            if not self._wanted:
                self._keep_peers()
            if not self._priorities:
                self._wanted = self._handle.status(0).total_wanted
            before = self._handle.get_piece_priorities()
            reserved = {piece: before[piece] for piece in pieces if piece not in self._priorities}
            self._priorities |= reserved
            self._refused.difference_update(reserved)
            self._handle.prioritize_pieces([(piece, 0) for piece in reserved])

    def release(self, pieces: Iterable[int]) -> None:
        with self._lock:
            held = [(piece, self._priorities[piece]) for piece in pieces if piece in self._priorities]
            self._handle.prioritize_pieces(held)
            for piece, _priority in held:
                del self._priorities[piece]

    def put(self, piece: int, content: bytes) -> None:
        self._refused.discard(piece)
        self._received += len(content)
        self._handle.add_piece(piece, content, lt.add_piece_flags_t.overwrite_existing)

    def verdict(self, piece: int) -> bool | None:
        if piece in self._refused:
            return False
        return True if self._handle.have_piece(piece) else None

    def refuse(self, piece: int) -> None:
        """Note that the hash of a piece was wrong."""
        if piece in self._priorities:
            self._refused.add(piece)

    def total(self, wanted: int) -> int:
        """Bytes of all wanted pieces. libtorrent's own count, ``wanted``, leaves out the reserved ones."""
        return max(wanted, self._wanted) if self._priorities else wanted

    def _requested(self) -> Iterable[int]:
        for entry in self._handle.get_download_queue():
            if any(block["state"] == _REQUESTED for block in entry["blocks"]):
                yield entry["piece_index"]
