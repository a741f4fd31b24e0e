"""How payload arrives: what is emitted about it, and when to stop waiting for it."""

import time
from collections.abc import Mapping

from magnetar.errors import Stalled
from magnetar.events import Began, Emit, Ended, FileSeen, Moved, Step
from magnetar.fetch.swarm.protocol import Status, Swarm, Transfer
from magnetar.fetch.swarm.sightings import Sightings

LOOK_AT_FILES_EVERY = 1.0
"""Seconds between two looks at the state of each file."""
REACH_FURTHER_AFTER = 15.0
"""Seconds without payload after which slower ways to peers are tried too."""


class Progress:
    """Emits how many bytes became good. A piece that fails its hash takes bytes back; they are counted only once."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._most: int | None = None

    def show(self, status: Status) -> None:
        """Emit what became good since the last call."""
        if status.phase == "checking":
            return
        if self._most is None:
            self._most = status.done
            self._emit(Began(Step.DOWNLOAD, status.total - status.done))
        if status.done > self._most:
            self._emit(Moved(Step.DOWNLOAD, status.done - self._most))
            self._most = status.done

    def end(self, status: Status) -> None:
        """Emit what became good since the last call, and that the step ended."""
        self.show(status)
        self._emit(Ended(Step.DOWNLOAD))


class FileWatch:
    """Emits the state of each of several files, once a second. ``sizes`` are the wanted files' sizes in bytes.

    Nothing is emitted about a single file: ``Progress`` says enough.
    """

    def __init__(self, sizes: Mapping[str, int], transfer: Transfer, emit: Emit) -> None:
        self._sizes = sizes
        self._transfer = transfer
        self._emit = emit
        self._seen: dict[str, int] = {}
        self._look_at = 0.0

    def show(self, status: Status) -> None:
        """Emit which files changed since the last call."""
        now = time.monotonic()
        if len(self._sizes) < 2 or status.phase == "checking" or (now < self._look_at and status.phase != "complete"):
            return
        self._look_at = now + LOOK_AT_FILES_EVERY
        done = {path: count for path, count in self._transfer.files().items() if path in self._sizes}
        for path, count in done.items():
            size, before = self._sizes[path], self._seen.get(path)
            if count != before and (before is not None or 0 < count < size):
                self._emit(FileSeen(path, count, size))
        self._seen = done


class StallWatch:
    """Watches for how long no payload has come: tries slower ways to peers, and gives up after ``timeout`` seconds.

    ``name`` is that of the release, for the message.
    """

    def __init__(self, swarm: Swarm, sightings: Sightings, name: str, timeout: float) -> None:
        self._swarm = swarm
        self._sightings = sightings
        self._name = name
        self._timeout = timeout
        self._downloaded = -1
        self._since = time.monotonic()

    def check(self, status: Status) -> None:
        """Raise ``Stalled`` if no payload has come for too long. Peers that a slower way found stay connected."""
        waited = self._waited(status)
        if waited > REACH_FURTHER_AFTER:
            self._swarm.reach_further()
        elif status.downloaded and not waited:
            self._swarm.reach_further(False)
        if waited > self._timeout:
            raise self._stalled(status, waited)

    def _waited(self, status: Status) -> float:
        """Seconds since payload came; 0 exactly when some came since the last call."""
        now = time.monotonic()
        if status.downloaded != self._downloaded or status.phase == "checking":
            self._downloaded = status.downloaded
            self._since = now
        return now - self._since

    def _stalled(self, status: Status, waited: float) -> Stalled:
        missing = status.total - status.done
        return Stalled(
            f"{self._name}: no payload for {waited:.0f} s, with {missing:,} of {status.total:,} bytes "
            f"still to come. Seen: {self._sightings.summary()}",
            hint="run the same command again to go on from here; name another peer with --peer if you know one",
            waited=waited,
            missing=missing,
            total=status.total,
        )
