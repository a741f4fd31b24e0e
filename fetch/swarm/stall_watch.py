"""How payload arrives: what is told of it, and when to stop waiting for it."""

import time
from collections.abc import Mapping

from magnetar.errors import Stalled
from magnetar.events import Began, Emit, Ended, FileSeen, Moved, Step
from magnetar.fetch.swarm.discovery import Sightings
from magnetar.fetch.swarm.protocol import Status, Transfer
from magnetar.fetch.torrent.metadata import Metadata

LOOK_AT_FILES_EVERY = 1.0  # seconds


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
            self._emit(Began(Step.DOWNLOAD, status.total - status.done))
        if status.done > self._most:
            self._emit(Moved(Step.DOWNLOAD, status.done - self._most))
            self._most = status.done

    def end(self, status: Status) -> None:
        self.tell(status)
        self._emit(Ended(Step.DOWNLOAD))


class FileWatch:
    """Tells how far each of several files is, once a second; ``sizes`` are those of the wanted ones, in bytes.

    Of a single file the whole tells enough.
    """

    def __init__(self, sizes: Mapping[str, int], transfer: Transfer, emit: Emit) -> None:
        self._sizes = sizes
        self._transfer = transfer
        self._emit = emit
        self._seen: dict[str, int] = {}
        self._look_at = 0.0

    def tell(self, status: Status) -> None:
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
