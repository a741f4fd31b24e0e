"""The swarm as the rest of the program sees it, without libtorrent, so that tests can implement it too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from magnetar.errors import OutsideError
from magnetar.events import TrackerAnswered
from magnetar.fetch.link.magnet import Magnet

Phase = Literal["metadata", "checking", "downloading", "complete"]


@dataclass(frozen=True, slots=True)
class Joining:
    """A torrent to join, with its payload in ``folder``.

    ``torrent`` are the bytes of a ``.torrent`` file; if empty, the swarm of ``magnet`` is asked for the metadata.
    ``resume`` is what ``Transfer.resume_data`` gave; its claims about pieces are believed only if ``trusted``.
    ``check_only`` never writes payload. Limits are in bytes a second; they hold for nearby peers too.
    ``unwanted`` are the paths of files that are left out; pieces that they share with a wanted file are fetched whole.
    ``only`` are the pieces to ask for, from the very beginning; None stands for all.
    """

    folder: Path
    magnet: Magnet
    torrent: bytes = b""
    resume: bytes = b""
    trusted: bool = False
    check_only: bool = False
    unwanted: frozenset[str] = frozenset()
    only: frozenset[int] | None = None
    download_limit: int | None = None
    upload_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Where a transfer stands, in bytes of payload.

    ``done`` of ``total`` wanted bytes are there and proven, counted by the piece; while ``phase`` is "checking",
    ``done`` is how many were hashed so far. "complete" says that every piece of every wanted file is there and proven.
    ``downloaded`` and ``uploaded`` count this session; ``mirrored`` of the downloaded bytes came from mirrors.
    """

    phase: Phase
    done: int
    total: int
    downloaded: int
    uploaded: int
    peers: int
    seeds: int
    mirrored: int = 0


@dataclass(frozen=True, slots=True)
class FileFailed:
    """The disk refused a read or a write of payload."""

    error: OutsideError


@dataclass(frozen=True, slots=True)
class PieceFailed:
    """A piece failed its hash. It was thrown away, and is asked for again."""

    piece: int


Notice = TrackerAnswered | FileFailed | PieceFailed


class Intake(Protocol):
    """Takes pieces of a torrent that do not come from peers. Safe to use from any thread until the transfer ends."""

    @property
    def received(self) -> int:
        """Bytes that were put in."""
        ...

    def unclaimed(self, *, even_requested: bool = False) -> Mapping[int, int]:
        """The pieces that are wanted and missing, with how many peers have each.

        Reserved pieces are left out, and those that a peer was asked for, unless ``even_requested``.
        """
        ...

    def reserve(self, pieces: Iterable[int]) -> None:
        """Ask no peer for these pieces, because they will be put in."""
        ...

    def release(self, pieces: Iterable[int]) -> None:
        """Leave these pieces to the peers again; those that are there now are counted."""
        ...

    def put(self, piece: int, content: bytes) -> None:
        """Put in the content of a reserved piece, to be hashed and written. In version 2 a piece ends with its file."""
        ...

    def verdict(self, piece: int) -> bool | None:
        """Whether a piece that was put in is good; None while it is not hashed yet."""
        ...


class Transfer(Protocol):
    """One torrent in a swarm."""

    @property
    def intake(self) -> Intake: ...

    def status(self) -> Status: ...

    def notices(self) -> Sequence[Notice]:
        """What happened since the last call."""
        ...

    def torrent(self) -> bytes:
        """The bytes of a ``.torrent`` file, with what is known of the torrent; empty until the metadata is there."""
        ...

    def pieces(self) -> Sequence[bool]:
        """For each piece, whether it is there and proven."""
        ...

    def files(self) -> Mapping[str, int]:
        """For each file of payload, by its path in the release, how many of its bytes are there and proven."""
        ...

    def peers(self) -> Sequence[tuple[str, int]]:
        """The addresses of the connected peers."""
        ...

    def resume_data(self) -> bytes:
        """What another session needs to go on from here. Returns after everything that was received is on disk.

        Raises ``OutsideError`` if the session or the disk does not answer.
        """
        ...

    def pause(self) -> None:
        """Stop exchanging payload."""
        ...

    def leave(self) -> None:
        """Leave the swarm. The transfer must not be used afterwards."""
        ...


class Swarm(Protocol):
    """A session with the world, which may hold several transfers."""

    @property
    def port(self) -> int:
        """The TCP port that peers reach us at; 0 if we do not listen."""
        ...

    @property
    def dht_nodes(self) -> int: ...

    def join(self, joining: Joining) -> Transfer: ...

    def wait(self, seconds: float) -> None:
        """Sleep until something happens, at most for ``seconds``, and never so long that Ctrl-C would be late."""
        ...

    def keep_peers(self) -> None:
        """Stay connected also to peers from whom nothing is wanted just now."""
        ...

    def reach_further(self, wanted: bool = True) -> None:
        """Try the slower ways to peers too (some can be reached over uTP only), or no longer if not ``wanted``."""
        ...

    def close(self) -> None: ...
