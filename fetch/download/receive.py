"""Payload between the swarm and a folder: downloaded until all of it is there, and served for a while after that."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from magnetar.errors import DiskError, NoSpace, OutsideError
from magnetar.events import Emit
from magnetar.fetch.download.state_folder import State
from magnetar.fetch.mirror.attach import fed_by_mirrors
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.request.stop_rule import Goal, Stop
from magnetar.fetch.swarm.discovery import payload_joining
from magnetar.fetch.swarm.lazy_session import LazySwarm
from magnetar.fetch.swarm.protocol import Status, Swarm, Transfer
from magnetar.fetch.swarm.sightings import Sightings, is_complete
from magnetar.fetch.swarm.stall_watch import FileWatch, Progress, StallWatch
from magnetar.fetch.torrent.known_torrent import KnownTorrent

SAVE_EVERY = 60.0
"""Seconds between two saves of the session's account, or fifty times as long as one takes, if that is longer."""


class Receiver:
    """Exchanges the payload of one torrent, which lies in one folder.

    ``downloaded`` and ``uploaded`` are bytes of payload, over all calls. ``left_out`` are the paths of files that are
    not wanted.
    """

    def __init__(
        self,
        state: State,
        torrent: KnownTorrent,
        left_out: frozenset[str],
        swarm: LazySwarm,
        options: FetchOptions,
        emit: Emit,
    ) -> None:
        self._state = state
        self._torrent = torrent
        self._left_out = left_out
        self._swarm = swarm
        self._options = options
        self._emit = emit
        self.downloaded = 0
        self.uploaded = 0
        # A link brings no piece hashes of version 2; peers send them with the payload. Without them, and without
        # those of version 1, only whole files could be checked, and a file that is not whole would be lost.
        self.needs_hashes = not torrent.metadata.infohash_v1

    def receive(self, resume: bytes) -> None:
        """Download until every wanted piece is there. However it ends, what is there is kept and accounted for.

        Raises ``Stalled``, and ``NoSpace`` or ``DiskError`` if the disk refuses.
        """
        self._state.withdraw()
        swarm, transfer = self._join(resume)
        try:
            sightings = Sightings(swarm, transfer, self._emit)
            with fed_by_mirrors(transfer.intake, self._torrent, self._options, self._emit) as feed:
                self._await_payload(swarm, transfer, sightings, feed)
            self._save_account(transfer)
            status = sightings.look()  # the last writes may have failed
        except BaseException as error:
            with suppress(OutsideError):  # the error that is being raised matters more
                self._stop(transfer, disk_failed=isinstance(error, NoSpace | DiskError))
            raise
        self.downloaded += status.downloaded
        self.uploaded += status.uploaded
        transfer.leave()

    def stay(self, resume: bytes, stop: Stop) -> None:
        """Seed until ``stop()`` is true, or the goal is reached; what was sent while receiving counts towards it."""
        goal = Goal(self._options.seed_ratio, self._options.seed_time)
        size = sum(self._wanted_sizes().values())
        swarm, transfer = self._join(resume)
        began, before = time.monotonic(), self.uploaded

        def has_given_enough(status: Status) -> bool:
            return stop() or goal.is_reached(before + status.uploaded, size, time.monotonic() - began)

        status = Sightings(swarm, transfer, self._emit).wait_until(has_given_enough)
        self.uploaded = before + status.uploaded
        transfer.leave()

    def _wanted_sizes(self) -> dict[str, int]:
        files = {str(file.path): file.size for file in self._torrent.metadata.files}
        return {path: size for path, size in files.items() if path not in self._left_out}

    def _join(self, resume: bytes) -> tuple[Swarm, Transfer]:
        swarm = self._swarm.open()
        joining = payload_joining(self._state.folder, self._torrent, self._options, resume)
        return swarm, swarm.join(replace(joining, trusted=True, unwanted=self._left_out))

    def _await_payload(
        self, swarm: Swarm, transfer: Transfer, sightings: Sightings, feed: Callable[[Status], None]
    ) -> None:
        stall = StallWatch(swarm, sightings, self._torrent.metadata.name, self._options.stall_timeout)
        progress = Progress(self._emit)
        files = FileWatch(self._wanted_sizes(), transfer, self._emit)
        save_at = time.monotonic() + SAVE_EVERY
        for status in sightings.follow(is_complete):
            progress.show(status)
            files.show(status)
            feed(status)
            stall.check(status)
            if self.needs_hashes and time.monotonic() > save_at:
                seconds = self._save_account(transfer)
                save_at = time.monotonic() + max(SAVE_EVERY, 50 * seconds)
        files.show(sightings.status)
        progress.end(sightings.status)

    def _stop(self, transfer: Transfer, *, disk_failed: bool) -> None:
        """Save an account of what is on disk, and vouch for it, since nothing writes any more.

        After a failure of the disk nothing is vouched for: the session may count pieces that it could not write.
        """
        transfer.pause()
        self._save_account(transfer)
        transfer.leave()
        if not disk_failed:
            self._state.vouch()

    def _save_account(self, transfer: Transfer) -> float:
        """Save what the session knows, after all that it received is on disk. Returns the seconds that it took."""
        began = time.monotonic()
        self._state.keep_resume(transfer.resume_data())
        return time.monotonic() - began
