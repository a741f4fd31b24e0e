"""Some pieces of a torrent, fetched from the swarm and from mirrors into a folder of their own."""

import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from magnetar.errors import OutsideError
from magnetar.events import Emit
from magnetar.fetch.mirror.attach import fed_by_mirrors
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.discovery import payload_joining
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.swarm.protocol import Status, Swarm, Transfer
from magnetar.fetch.swarm.sightings import Sightings
from magnetar.fetch.swarm.stall_watch import Progress, StallWatch
from magnetar.fetch.torrent.known_torrent import KnownTorrent
from magnetar.fetch.torrent.pieces_on_disk import Pieces
from magnetar.files import disk_failure


class Staging:
    """Pieces of a torrent that wait in ``folder``. Files there are sparse: they take the space of what has come.

    ``good`` are the pieces that came and were proven. ``downloaded`` and ``uploaded`` are bytes of payload.
    """

    def __init__(
        self,
        folder: Path,
        torrent: KnownTorrent,
        pieces: Pieces,
        swarm: LazySwarm,
        options: FetchOptions,
        emit: Emit,
    ) -> None:
        self.folder = folder
        self._torrent = torrent
        self._pieces = pieces
        self._swarm = swarm
        self._options = options
        self._emit = emit
        self.good: frozenset[int] = frozenset()
        self.downloaded = 0
        self.uploaded = 0

    def fetch(self, wanted: Collection[int], resume: bytes) -> None:
        """Fetch the pieces ``wanted``, and no others. However it ends, what came is on disk.

        ``resume`` may bring the hashes that a version 2 torrent leaves to its peers. Raises ``OutsideError``.
        """
        self.clear()
        swarm = self._swarm.open()
        joining = payload_joining(self.folder, self._torrent, self._options, resume)
        transfer = swarm.join(replace(joining, only=frozenset(wanted)))
        transfer.intake.reserve(set(range(self._torrent.metadata.piece_count)).difference(wanted))
        sightings = Sightings(swarm, transfer, self._emit)
        try:
            self._await_pieces(swarm, transfer, sightings, frozenset(wanted))
            transfer.resume_data()  # returns when all that came is on disk
            status = sightings.look()
            self.downloaded, self.uploaded = status.downloaded, status.uploaded
        except BaseException:
            with suppress(OutsideError):  # the error that is being raised matters more
                transfer.pause()
                transfer.resume_data()
            raise
        finally:
            transfer.leave()

    def clear(self) -> None:
        """Remove the folder with all that is in it. Raises ``DiskError``."""
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk_failure(error, self.folder) from error

    def _await_pieces(self, swarm: Swarm, transfer: Transfer, sightings: Sightings, wanted: frozenset[int]) -> None:
        stall = StallWatch(swarm, sightings, self._torrent.metadata.name, self._options.stall_timeout)
        progress = Progress(self._emit)

        def have_come(_status: Status) -> bool:
            here = transfer.pieces()
            self.good = frozenset(piece for piece in wanted if piece < len(here) and here[piece])
            return self.good == wanted

        with fed_by_mirrors(transfer.intake, self._torrent, self._options, self._emit) as feed:
            for status in sightings.follow(have_come):
                counted = self._count_wanted(status, wanted)
                progress.show(counted)
                feed(counted)
                stall.check(counted)
        progress.end(self._count_wanted(sightings.status, wanted))

    def _count_wanted(self, status: Status, wanted: frozenset[int]) -> Status:
        """The status, with the bytes of the wanted pieces only."""
        done, total = (sum(map(self._pieces.length, pieces)) for pieces in (self.good, wanted))
        return replace(status, done=done, total=total)
