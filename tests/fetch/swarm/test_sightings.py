"""The one loop that waits for a torrent, and what stops it, with a swarm of our own making."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from magnetar.errors import DiskError, Stalled
from magnetar.events import Began, Ended, Event, Moved, Step, SwarmSeen, TrackerAnswered
from magnetar.fetch.swarm import stall_watch
from magnetar.fetch.swarm.protocol import FileFailed, Joining, Notice, PieceFailed, Status, Transfer
from magnetar.fetch.swarm.sightings import LOOK_EVERY, Sightings, is_complete
from magnetar.fetch.swarm.stall_watch import Progress, StallWatch

BEGUN = Status("downloading", done=0, total=100, downloaded=0, uploaded=0, peers=2, seeds=1)


class ScriptedSwarm:
    """A ``Swarm`` and a ``Transfer`` at once, which goes on to its next status at each look."""

    port = 0
    dht_nodes = 7

    def __init__(self, *script: Status, notices: Sequence[Notice] = ()) -> None:
        self.waits: list[float] = []
        self.further: list[bool] = []
        self._script = list(script)
        self._notices = list(notices)

    def join(self, _joining: Joining) -> Transfer:
        raise NotImplementedError  # nobody joins in these tests

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self._script) > 1:
            self._script.pop(0)

    def keep_peers(self) -> None: ...

    def reach_further(self, wanted: bool = True) -> None:
        self.further.append(wanted)

    def close(self) -> None: ...

    def status(self) -> Status:
        return self._script[0]

    def notices(self) -> Sequence[Notice]:
        notices, self._notices = self._notices, []
        return notices


def watch(swarm: ScriptedSwarm, events: list[Event]) -> Sightings:
    return Sightings(swarm, swarm, events.append)  # type: ignore[arg-type]  # one stand-in for both


def test_each_status_before_the_end_is_yielded_with_a_wait_after_it() -> None:
    half, whole = replace(BEGUN, done=50), replace(BEGUN, phase="complete", done=100)
    swarm = ScriptedSwarm(BEGUN, half, whole)
    sightings = watch(swarm, [])
    assert list(sightings.follow(is_complete)) == [BEGUN, half]
    assert sightings.status == whole
    assert swarm.waits == [LOOK_EVERY, LOOK_EVERY]


def test_what_is_complete_already_is_not_waited_for() -> None:
    swarm = ScriptedSwarm(replace(BEGUN, phase="complete"))
    assert watch(swarm, []).wait_until(is_complete).phase == "complete"
    assert swarm.waits == []


def test_the_swarm_is_told_of_when_it_changes_and_summed_up() -> None:
    events: list[Event] = []
    answers = (TrackerAnswered("udp://a", 3), TrackerAnswered("udp://b", 0, "gone"), PieceFailed(1))
    more = replace(BEGUN, peers=5)
    sightings = watch(
        ScriptedSwarm(BEGUN, BEGUN, more, BEGUN, replace(BEGUN, phase="complete"), notices=answers), events
    )
    sightings.wait_until(is_complete)
    seen = [event for event in events if isinstance(event, SwarmSeen)]
    assert [event.peers for event in seen] == [2, 5, 2]
    assert [event for event in events if isinstance(event, TrackerAnswered)] == list(answers[:2])
    assert (sightings.most_peers, sightings.most_seeds) == (5, 1)
    assert sightings.summary() == "5 peers at most, 7 DHT nodes; udp://a: 3 peers; udp://b: gone"


def test_what_the_disk_refused_ends_the_wait() -> None:
    swarm = ScriptedSwarm(BEGUN, notices=[FileFailed(DiskError("no"))])
    with pytest.raises(DiskError, match="no"):
        watch(swarm, []).wait_until(is_complete)


def test_a_stall_first_reaches_further_and_then_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(stall_watch.time, "monotonic", lambda: now)
    swarm = ScriptedSwarm(BEGUN)
    watcher = StallWatch(swarm, watch(swarm, []), "r", timeout=60)
    steps = ((0.0, 0), (16.0, 0), (1.0, 10), (16.0, 10), (44.0, 10))  # seconds that pass, bytes that have come then
    for seconds, downloaded in steps:
        now += seconds
        watcher.check(replace(BEGUN, downloaded=downloaded))
    assert swarm.further == [True, False, True, True]
    now += 0.5
    with pytest.raises(Stalled, match="r: no payload for 60 s, with 100 of 100 bytes") as caught:
        watcher.check(replace(BEGUN, downloaded=10))
    assert (caught.value.waited, caught.value.missing, caught.value.total) == (60.5, 100, 100)


def test_bytes_that_a_failed_piece_takes_back_are_counted_once() -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.show(replace(BEGUN, phase="checking", done=90))
    for done in (10, 40, 30, 50):
        progress.show(replace(BEGUN, done=done))
    progress.end(replace(BEGUN, done=100))
    assert events == [
        Began(Step.DOWNLOAD, 90),
        Moved(Step.DOWNLOAD, 30),
        Moved(Step.DOWNLOAD, 10),
        Moved(Step.DOWNLOAD, 50),
        Ended(Step.DOWNLOAD),
    ]
