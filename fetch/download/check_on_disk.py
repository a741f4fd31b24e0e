"""What is on disk, held against a torrent's piece hashes, without touching the network or a byte of payload."""

from dataclasses import dataclass
from pathlib import Path

from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.fetch.download.disk_checks import check_destination
from magnetar.fetch.request.options import Network
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import Joining, Status
from magnetar.fetch.swarm.sightings import Sightings
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import damaged_paths, load, read_torrent


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of every piece found, in bytes of wanted payload: ``done`` of ``total`` are good.

    ``damaged`` are the files that lack a good piece, in the torrent's order; ``complete`` says that none of them is
    wanted. ``pieces`` says of each piece whether it is good. ``resume`` lets a session go on from there.
    """

    total: int
    done: int
    complete: bool
    damaged: tuple[str, ...]
    pieces: tuple[bool, ...]
    resume: bytes


def check_pieces(
    folder: Path,
    torrent: bytes,
    *,
    resume: bytes = b"",
    unwanted: frozenset[str] = frozenset(),
    emit: Emit = ignore,
) -> Checked:
    """Hash what ``folder`` holds of a torrent (``.torrent`` bytes). Missing and short files are not good, no more.

    ``resume`` adds the hashes that a version 2 torrent leaves to its peers; none of its claims are believed.
    ``unwanted`` are the paths of files that were left out.
    Raises ``TorrentError``; ``UsageError`` or ``DiskError`` if a path leads through a link, is no plain file, or cannot
    be read.
    """
    metadata = read_torrent(torrent)
    check_destination(folder, metadata)  # a read of a pipe in a file's place would never end
    joining = Joining(folder, magnet_of(metadata), torrent, resume, check_only=True, unwanted=unwanted)
    with open_swarm(Network(offline=True)) as swarm:
        transfer = swarm.join(joining)
        status = _await_check(Sightings(swarm, transfer, ignore), emit)
        pieces = tuple(transfer.pieces())
        damaged = tuple(damaged_paths(load(torrent).ti, pieces))
        return Checked(
            total=status.total,
            done=status.done,
            complete=unwanted.issuperset(damaged),
            damaged=damaged,
            pieces=pieces,
            resume=transfer.resume_data(),
        )


def _await_check(sightings: Sightings, emit: Emit) -> Status:
    """Wait until the session has looked at every piece. Raises the error that the disk gave, if it gave one."""
    emit(Began(Step.CHECK, sightings.status.total))
    hashed = 0
    for status in sightings.follow(lambda status: status.phase != "checking"):
        if status.done > hashed:
            emit(Moved(Step.CHECK, status.done - hashed))
            hashed = status.done
    if sightings.status.total > hashed:
        emit(Moved(Step.CHECK, sightings.status.total - hashed))
    emit(Ended(Step.CHECK))
    return sightings.status
