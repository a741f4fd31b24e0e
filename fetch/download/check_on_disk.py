"""What is on disk, held against a torrent's piece hashes, without touching the network or a byte of payload."""

from dataclasses import dataclass
from pathlib import Path

from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.fetch.download.disk_checks import check_destination
from magnetar.fetch.request.options import Network
from magnetar.fetch.swarm.discovery import LOOK_EVERY
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import FileFailed, Joining
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import damaged_paths, load, read_torrent


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of every piece found, in bytes of wanted payload.

    ``damaged`` names the files that lack a good piece, in the torrent's order; ``complete`` says that none of them is
    wanted. ``pieces`` tells for each piece whether it is good. ``resume`` lets a session go on from there.
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
    """Hash what ``folder`` holds of a torrent (``.torrent`` bytes). Missing and short files are merely not good.

    ``resume`` adds the hashes that a version 2 torrent leaves to its peers; none of its claims are believed.
    ``unwanted`` are the paths of files that were left out.
    Raises ``TorrentError``; ``UsageError`` or ``DiskError`` if a path leads through a link, is no plain file, or cannot
    be read.
    """
    metadata = read_torrent(torrent)
    check_destination(folder, metadata)  # a pipe in a file's place would be waited for without end
    magnet = magnet_of(metadata)
    with open_swarm(Network(offline=True)) as swarm:
        transfer = swarm.join(Joining(folder, magnet, torrent, resume, check_only=True, unwanted=unwanted))
        status = transfer.status()
        emit(Began(Step.CHECK, status.total))
        looked_at = 0
        while (status := transfer.status()).phase == "checking":
            for notice in transfer.notices():
                if isinstance(notice, FileFailed):
                    raise notice.error
            if status.done > looked_at:
                emit(Moved(Step.CHECK, status.done - looked_at))
                looked_at = status.done
            swarm.wait(LOOK_EVERY)
        if status.total > looked_at:
            emit(Moved(Step.CHECK, status.total - looked_at))
        emit(Ended(Step.CHECK))
        pieces = tuple(transfer.pieces())
        damaged = tuple(damaged_paths(load(torrent).ti, pieces))
        complete = unwanted.issuperset(damaged)
        return Checked(status.total, status.done, complete, damaged, pieces, transfer.resume_data())
