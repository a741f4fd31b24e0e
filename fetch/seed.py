"""Serving a release from its folder, so that others can fetch it by its link."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import UsageError, WrongBytesError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.checking import check_pieces
from magnetar.fetch.discovery import LOOK_EVERY, Sightings, reachable
from magnetar.fetch.magnet import Magnet, join_peers, join_trackers
from magnetar.fetch.metainfo import create_torrent, read_torrent
from magnetar.fetch.options import DEFAULT_SEED, FetchOptions, SeedOptions
from magnetar.fetch.protocol import Joining
from magnetar.fetch.state import State, read_kept_torrent
from magnetar.fetch.swarm import open_swarm
from magnetar.fetch.torrent import Metadata, magnet_of
from magnetar.files import STATE_FOLDER, lock_folder


@dataclass(frozen=True, slots=True)
class Seeding:
    """A release that is being served: its link, and the TCP port where peers reach it."""

    magnet: Magnet
    port: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Seeded:
    """What came of a seeding: payload bytes sent, and seconds."""

    metadata: Metadata
    uploaded: int
    seconds: float


def never() -> bool:
    """The default end of a seeding: only Ctrl-C ends it."""
    return False


def seed(
    folder: Path,
    *,
    options: SeedOptions = DEFAULT_SEED,
    listening: Callable[[Seeding], None],
    stop: Callable[[], bool] = never,
    emit: Emit = ignore,
) -> Seeded:
    """Serve ``folder`` until ``stop()`` is true; it is asked about four times a second.

    A folder that was fetched or published before keeps its torrent, so that its swarm is not split; else one is made.
    Every piece is checked before the first is served, then ``listening`` is called once.

    Raises ``UsageError`` for what is not a folder with files, ``WrongBytesError`` if files are no longer those of the
    torrent, ``OutsideError`` if the session cannot listen, ``FolderLocked``. A ``KeyboardInterrupt`` passes through.
    """
    if not folder.is_dir() or all(path.name == STATE_FOLDER for path in folder.iterdir()):
        raise UsageError(f"{folder}: is not a folder with files", hint="name the folder that holds the release's files")
    began = time.monotonic()
    with _held(folder, emit) as writable:
        torrent = read_kept_torrent(folder) or create_torrent(
            folder, trackers=options.trackers, piece_length=options.piece_length, emit=emit
        )
        metadata = read_torrent(torrent)
        resume = _proven(folder, torrent, emit)
        if writable:
            State(folder, metadata).keep_torrent(torrent, complete=True)
        magnet = join_trackers(magnet_of(metadata), options.trackers)
        joining = Joining(
            folder, _reachable(magnet, options), torrent, resume, trusted=True, upload_limit=options.upload_limit
        )
        with open_swarm(options.network) as swarm:
            transfer = swarm.join(joining)
            sightings = Sightings(swarm, emit)
            while sightings.look(transfer).phase != "complete":
                swarm.wait(LOOK_EVERY)
            listening(Seeding(_link(magnet, swarm.port, options), swarm.port, metadata))
            while not stop():
                swarm.wait(LOOK_EVERY)
                sightings.look(transfer)
            uploaded = transfer.status().uploaded
    return Seeded(metadata, uploaded, time.monotonic() - began)


@contextmanager
def _held(folder: Path, emit: Emit) -> Iterator[bool]:
    """Hold the folder, and say whether state can be kept in it. One that cannot be written to is served as it is."""
    if not os.access(folder, os.W_OK):
        emit(Remarked(f"{folder} cannot be written to: the torrent is made anew each time"))
        yield False
    else:
        with lock_folder(folder):
            yield True


def _proven(folder: Path, torrent: bytes, emit: Emit) -> bytes:
    """Resume data that claims every piece, after each was hashed. Raises ``WrongBytesError`` if one is not good."""
    checked = check_pieces(folder, torrent, emit=emit)
    if not checked.complete:
        names = ", ".join(checked.damaged[:5]) + (", …" if len(checked.damaged) > 5 else "")
        raise WrongBytesError(
            f"{folder}: these are not, or not all, the bytes of its torrent: {names}",
            hint="fetch it to complete or mend it; if you changed it on purpose, remove its "
            f"{STATE_FOLDER} folder, and it is published as a new torrent",
        )
    return checked.resume


def _reachable(magnet: Magnet, options: SeedOptions) -> Magnet:
    asked = FetchOptions(peers=options.peers, fallback_trackers=False, loopback=options.loopback)
    return reachable(magnet, asked)


def _link(magnet: Magnet, port: int, options: SeedOptions) -> Magnet:
    """The link to hand out. On loopback it carries our own address, since nobody else could tell it."""
    return join_peers(magnet, [("127.0.0.1", port)]) if options.loopback else magnet
