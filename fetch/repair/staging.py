"""Some pieces of a torrent, fetched from the swarm and from mirrors into a folder of their own."""

import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from magnetar.errors import OutsideError
from magnetar.events import Emit
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.mirror.attach import fed_by_mirrors
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.discovery import LOOK_EVERY, REACH_FURTHER_AFTER, Sightings, reachable
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.swarm.protocol import Joining, Status, Swarm, Transfer
from magnetar.fetch.swarm.stall_watch import Progress, StallWatch, stalled
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.pieces_on_disk import Pieces
from magnetar.files import disk_failure


class Staging:
    """A torrent joined in ``folder``, where nothing else of it lies. Files there are sparse: they take what came.

    ``good`` are the pieces that came and were proven. ``downloaded`` and ``uploaded`` are payload bytes.
    """

    def __init__(
        self,
        folder: Path,
        torrent: bytes,
        magnet: Magnet,
        metadata: Metadata,
        pieces: Pieces,
        swarm: LazySwarm,
        options: FetchOptions,
        emit: Emit,
    ) -> None:
        self.folder = folder
        self._torrent = torrent
        self._magnet = magnet
        self._metadata = metadata
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
        swarm, transfer = self._join(wanted, resume)
        try:
            self._await(swarm, transfer, frozenset(wanted))
            transfer.resume_data()  # returns when all that came is on disk
        except BaseException:
            with suppress(OutsideError):  # what is being raised matters more
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

    def _join(self, wanted: Collection[int], resume: bytes) -> tuple[Swarm, Transfer]:
        options = self._options
        swarm = self._swarm.open()
        joining = Joining(
            self.folder,
            reachable(self._magnet, options, private=self._metadata.private),
            self._torrent,
            resume,
            only=frozenset(wanted),
            download_limit=options.download_limit,
            upload_limit=options.upload_limit,
        )
        transfer = swarm.join(joining)
        transfer.intake.reserve(set(range(self._metadata.piece_count)).difference(wanted))
        return swarm, transfer

    def _await(self, swarm: Swarm, transfer: Transfer, wanted: frozenset[int]) -> None:
        watch = StallWatch(self._options.stall_timeout)
        progress = Progress(self._emit)
        sightings = Sightings(swarm, self._emit)
        with fed_by_mirrors(transfer.intake, self._torrent, self._metadata, self._options, self._emit) as feed:
            while True:
                status = self._look(transfer, sightings, wanted)
                progress.tell(status)
                if self.good == wanted:
                    break
                self._go_on(swarm, status, watch, sightings, feed)
        progress.end(status)

    def _go_on(
        self, swarm: Swarm, status: Status, watch: StallWatch, sightings: Sightings, feed: Callable[[Status], None]
    ) -> None:
        feed(status)
        if watch.waited(status) > REACH_FURTHER_AFTER:
            swarm.reach_further()
        if watch.is_stalled(status):
            raise stalled(self._metadata, status, watch, sightings)
        swarm.wait(LOOK_EVERY)

    def _look(self, transfer: Transfer, sightings: Sightings, wanted: frozenset[int]) -> Status:
        """Where it stands, with only the wanted pieces counted."""
        here = transfer.pieces()  # before the count of bytes, which is then never behind the pieces
        status = sightings.look(transfer)
        self.good = frozenset(piece for piece in wanted if piece < len(here) and here[piece])
        self.downloaded, self.uploaded = status.downloaded, status.uploaded
        return replace(
            status,
            done=sum(map(self._pieces.length, self.good)),
            total=sum(map(self._pieces.length, wanted)),
        )
