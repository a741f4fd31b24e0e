"""How payload arrives: what is told of it, and when to stop waiting for it."""

import time

from magnetar.errors import Stalled
from magnetar.events import Began, Emit, Ended, Moved
from magnetar.fetch.discovery import Sightings
from magnetar.fetch.protocol import Status
from magnetar.fetch.torrent import Metadata


class Progress:
    """Tells how many bytes became good. A piece that fails takes bytes back; they are told only once."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._most: int | None = None

    def tell(self, status: Status) -> None:
        if status.phase == "checking":
            return
        if self._most is None:
            self._most = status.done
            self._emit(Began("download", status.total - status.done))
        if status.done > self._most:
            self._emit(Moved("download", status.done - self._most))
            self._most = status.done

    def end(self, status: Status) -> None:
        self.tell(status)
        self._emit(Ended("download"))


class StallWatch:
    """How long no payload has come: in seconds, and 0 exactly when some came since the last look."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._downloaded = -1
        self._since = time.monotonic()

    def waited(self, status: Status) -> float:
        now = time.monotonic()
        if status.downloaded != self._downloaded or status.phase == "checking":
            self._downloaded = status.downloaded
            self._since = now
        return now - self._since

    def is_stalled(self, status: Status) -> bool:
        return self.waited(status) > self._timeout


def stalled(metadata: Metadata, status: Status, watch: StallWatch, sightings: Sightings) -> Stalled:
    """The error that says how long nothing came, how much is missing, and what was seen of the swarm."""
    missing = status.total - status.done
    return Stalled(
        f"{metadata.name}: no payload for {watch.waited(status):.0f} s, with {missing:,} of {status.total:,} bytes "
        f"still to come. Seen: {sightings.summary()}",
        hint="run the same command again to go on from here; name another peer with --peer if you know one",
    )
