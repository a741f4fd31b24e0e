"""Payload between the disk and the swarm: received until all of it is there, and served for a while after."""

import time
from collections.abc import Callable
from contextlib import suppress

from magnetar.errors import DiskError, NoSpace, OutsideError
from magnetar.events import Emit
from magnetar.fetch.download.state_folder import State
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.mirror.attach import fed_by_mirrors
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.request.stop_rule import Goal, Stop
from magnetar.fetch.swarm.discovery import LOOK_EVERY, REACH_FURTHER_AFTER, Sightings, reachable
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.swarm.protocol import Joining, Status, Swarm, Transfer
from magnetar.fetch.swarm.stall_watch import FileWatch, Progress, StallWatch, stalled

SAVE_EVERY = 60.0  # seconds


class Reception:
    """One torrent in one folder. ``downloaded`` and ``uploaded`` are payload bytes of all its visits to the swarm."""

    def __init__(
        self,
        state: State,
        torrent: bytes,
        magnet: Magnet,
        unwanted: frozenset[str],
        swarm: LazySwarm,
        options: FetchOptions,
        emit: Emit,
    ) -> None:
        self._state = state
        self._torrent = torrent
        self._magnet = magnet
        self._unwanted = unwanted
        self._swarm = swarm
        self._options = options
        self._emit = emit
        self.downloaded = 0
        self.uploaded = 0
        # A link brings no piece hashes of version 2; peers send them with the payload. Without them, and without
        # those of version 1, only whole files could be checked, and a file that is not whole would be lost.
        self.needs_hashes = not state.metadata.infohash_v1

    def receive(self, resume: bytes) -> None:
        """Download until every wanted piece is there. However it ends, what is there is kept and accounted for."""
        self._state.withdraw()
        swarm, transfer = self._join(resume)
        try:
            sightings = Sightings(swarm, self._emit)
            with fed_by_mirrors(
                transfer.intake, self._torrent, self._state.metadata, self._options, self._emit
            ) as feed:
                self._await_payload(swarm, transfer, sightings, feed)
            self._keep_account(transfer)
            status = sightings.look(transfer)  # the last writes may have failed
        except BaseException as error:
            with suppress(OutsideError):  # what is being raised matters more
                self._stop(transfer, disk_failed=isinstance(error, NoSpace | DiskError))
            raise
        self.downloaded += status.downloaded
        self.uploaded += status.uploaded
        transfer.leave()

    def stay(self, resume: bytes, stop: Stop) -> None:
        """Seed until told to stop, or until the goal is reached, to which what was sent before counts."""
        goal = Goal(self._options.seed_ratio, self._options.seed_time)
        swarm, transfer = self._join(resume)
        sightings = Sightings(swarm, self._emit)
        began, before = time.monotonic(), self.uploaded
        size = sum(self._wanted_sizes().values())
        while not (stop() or goal.is_reached(self.uploaded, size, time.monotonic() - began)):
            swarm.wait(LOOK_EVERY)
            self.uploaded = before + sightings.look(transfer).uploaded
        transfer.leave()

    def _wanted_sizes(self) -> dict[str, int]:
        files = {str(file.path): file.size for file in self._state.metadata.files}
        return {path: size for path, size in files.items() if path not in self._unwanted}

    def _join(self, resume: bytes) -> tuple[Swarm, Transfer]:
        options = self._options
        swarm = self._swarm.open()
        joining = Joining(
            self._state.folder,
            reachable(self._magnet, options, private=self._state.metadata.private),
            self._torrent,
            resume,
            trusted=True,
            unwanted=self._unwanted,
            download_limit=options.download_limit,
            upload_limit=options.upload_limit,
        )
        return swarm, swarm.join(joining)

    def _await_payload(
        self, swarm: Swarm, transfer: Transfer, sightings: Sightings, feed: Callable[[Status], None]
    ) -> None:
        watch = StallWatch(self._options.stall_timeout)
        progress = Progress(self._emit)
        files = FileWatch(self._wanted_sizes(), transfer, self._emit)
        save_at = time.monotonic() + SAVE_EVERY
        while (status := sightings.look(transfer)).phase != "complete":
            progress.tell(status)
            files.tell(status)
            feed(status)
            self._adjust_reach(swarm, status, watch)
            if watch.is_stalled(status):
                raise stalled(self._state.metadata, status, watch, sightings)
            if self.needs_hashes and time.monotonic() > save_at:
                took = self._keep_account(transfer)
                save_at = time.monotonic() + max(SAVE_EVERY, 50 * took)
            swarm.wait(LOOK_EVERY)
        files.tell(status)
        progress.end(status)

    def _adjust_reach(self, swarm: Swarm, status: Status, watch: StallWatch) -> None:
        """Slower ways to peers are tried while nothing comes; who was met there stays when payload flows again."""
        waited = watch.waited(status)
        if waited > REACH_FURTHER_AFTER:
            swarm.reach_further()
        elif status.downloaded and not waited:
            swarm.reach_further(False)

    def _stop(self, transfer: Transfer, *, disk_failed: bool) -> None:
        """Leave an account of what is on disk, and vouch for it, since nothing writes any more.

        A disk that failed is not vouched for: the session may count pieces that it could not write.
        """
        transfer.pause()
        self._keep_account(transfer)
        transfer.leave()
        if not disk_failed:
            self._state.vouch()

    def _keep_account(self, transfer: Transfer) -> float:
        """Keep what the session knows, after all that it received is on disk. Returns the seconds that it took."""
        began = time.monotonic()
        self._state.keep_resume(transfer.resume_data())
        return time.monotonic() - began
