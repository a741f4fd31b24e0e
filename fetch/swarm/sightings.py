"""Watching one torrent in a swarm: the only loop that waits for it, and what was seen meanwhile."""

import time
from collections.abc import Callable, Iterator

from magnetar.events import Emit, SwarmSeen, TrackerAnswered
from magnetar.fetch.swarm.protocol import FileFailed, Notice, PieceFailed, Status, Swarm, Transfer

LOOK_EVERY = 0.25
"""Seconds between two looks at a transfer."""
REPEAT_AFTER = 5.0
"""Seconds after which ``SwarmSeen`` is emitted again although nothing changed: that it still waits is news too."""


def is_complete(status: Status) -> bool:
    """Whether every piece of every wanted file is there and proven."""
    return status.phase == "complete"


class Sightings:
    """What is seen of a torrent's swarm: emitted as it happens, and summed up for an error message.

    ``status`` is the status at the last look. ``most_peers`` and ``most_seeds`` are the largest numbers that were
    connected at the same time.
    """

    def __init__(self, swarm: Swarm, transfer: Transfer, emit: Emit) -> None:
        self.status = transfer.status()
        self.most_peers = 0
        self.most_seeds = 0
        self._swarm = swarm
        self._transfer = transfer
        self._emit = emit
        self._trackers: dict[str, TrackerAnswered] = {}
        self._emitted: SwarmSeen | None = None
        self._emitted_at = 0.0

    def look(self) -> Status:
        """Look at the transfer, and emit what is new. Raises the error that the disk gave, if it gave one."""
        for notice in self._transfer.notices():
            self._handle(notice)
        self.status = status = self._transfer.status()
        self.most_peers = max(self.most_peers, status.peers)
        self.most_seeds = max(self.most_seeds, status.seeds)
        nodes = self._swarm.dht_nodes
        seen = SwarmSeen(status.peers, status.seeds, nodes, status.uploaded, status.downloaded, status.mirrored)
        now = time.monotonic()
        if seen != self._emitted or now - self._emitted_at > REPEAT_AFTER:
            self._emit(seen)
            self._emitted, self._emitted_at = seen, now
        return status

    def follow(self, done: Callable[[Status], bool]) -> Iterator[Status]:
        """Look about four times a second until ``done``, and yield each status before that. Raises as ``look`` does."""
        while not done(status := self.look()):
            yield status
            self._swarm.wait(LOOK_EVERY)

    def wait_until(self, done: Callable[[Status], bool]) -> Status:
        """Look until ``done``; the status at that time. Raises as ``look`` does."""
        for _status in self.follow(done):
            pass
        return self.status

    def summary(self) -> str:
        """Peers, DHT nodes, and what each tracker answered, in one paragraph."""
        answers = [
            f"{url}: {answer.error}" if answer.error else f"{url}: {answer.peers} peers"
            for url, answer in self._trackers.items()
        ]
        trackers = "; ".join(answers) or "no tracker answered"
        return f"{self.most_peers} peers at most, {self._swarm.dht_nodes} DHT nodes; {trackers}"

    def _handle(self, notice: Notice) -> None:
        match notice:
            case TrackerAnswered():
                self._trackers[notice.url] = notice
                self._emit(notice)
            case FileFailed():
                raise notice.error
            case PieceFailed():
                pass  # libtorrent has thrown it away, and asks for it again
