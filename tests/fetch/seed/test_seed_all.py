import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magnetar.errors import MetadataTimeout, UsageError, WrongBytesError
from magnetar.events import Event, FoundWrong, Skipped, SwarmSeen
from magnetar.fetch.download.fetch import Fetched, fetch
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.request.stop_rule import Goal
from magnetar.fetch.seed.seed import Seeding, Served, seed, seed_all
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent
from tests.fetch.neighbours import free_port
from tests.fetch.world import NEARBY, V1, contents, publish, serve, write_release
from tests.patience import PATIENCE

LOOPBACK = SeedOptions(loopback=True)


class Fetcher:
    """Fetches each release that begins to be served; then, and only then, the seeding may end."""

    def __init__(self, parent: Path, expected: int) -> None:
        self.parent = parent
        self.expected = expected
        self.seen: list[Seeding] = []
        self.fetched: list[Fetched] = []
        self.done = threading.Event()

    def listening(self, seeding: Seeding) -> None:
        self.seen.append(seeding)
        if len(self.seen) == self.expected:
            threading.Thread(target=self._work).start()

    def _work(self) -> None:
        try:
            for seeding in self.seen:
                self.fetched.append(fetch(seeding.magnet, self.parent, options=NEARBY))
        finally:
            self.done.set()


def test_several_folders_are_served_in_one_session_and_told_by_name(tmp_path: Path) -> None:
    folders = [write_release(tmp_path / "mine" / name, {"x": 50_000 + n}) for n, name in enumerate("abc")]
    fetcher = Fetcher(tmp_path / "theirs", 3)
    told: list[tuple[Served, ...]] = []

    def all_is_given() -> bool:  # what was sent is counted a moment after it has arrived
        last = told[-1] if told else ()
        return fetcher.done.is_set() and bool(last) and all(one.uploaded >= one.metadata.total_size for one in last)

    ended = seed_all(folders, options=LOOPBACK, listening=fetcher.listening, watch=told.append, stop=all_is_given)
    assert len({seeding.port for seeding in fetcher.seen}) == 1
    assert [seeded.metadata.name for seeded in ended] == ["a", "b", "c"]
    assert all(seeded.uploaded >= seeded.metadata.total_size for seeded in ended)
    for mine, theirs in zip(folders, fetcher.fetched, strict=True):
        assert contents(theirs.folder) == contents(mine)
    assert [served.folder for served in told[0]] == folders


def test_a_folder_that_is_damaged_does_not_keep_the_others_from_being_served(tmp_path: Path) -> None:
    good = write_release(tmp_path / "good", {"x": 50_000})
    bad = write_release(tmp_path / "bad", {"x": 50_000})
    with serve(bad):
        pass
    (bad / "x").write_bytes(b"changed")
    events: list[Event] = []
    fetcher = Fetcher(tmp_path / "theirs", 1)
    ended = seed_all(
        [bad, tmp_path / "absent", good],
        options=LOOPBACK,
        listening=fetcher.listening,
        stop=fetcher.done.is_set,
        emit=events.append,
    )
    assert [seeded.metadata.name for seeded in ended] == ["good"]
    wrong = [event for event in events if isinstance(event, FoundWrong)]
    assert [event.finding.subject for event in wrong] == [str(bad), str(tmp_path / "absent")]
    assert max(event.uploaded for event in events if isinstance(event, SwarmSeen)) == ended[0].uploaded


def test_if_nothing_can_be_served_the_first_reason_is_raised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        seed_all([tmp_path / "absent", tmp_path / "also"], options=LOOPBACK, listening=lambda _seeding: None)
    with pytest.raises(UsageError, match="nothing to serve"):
        seed_all([], options=LOOPBACK, listening=lambda _seeding: None)


def test_a_seeding_ends_at_its_ratio_and_at_its_time(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "mine" / "r", {"x": 200_000})
    fetcher = Fetcher(tmp_path / "theirs", 1)
    ended = seed(folder, options=replace(LOOPBACK, seed_ratio=1.0), listening=fetcher.listening)
    assert ended.uploaded >= 200_000
    assert fetcher.done.wait(PATIENCE)
    began = time.monotonic()
    ended = seed(folder, options=replace(LOOPBACK, seed_time=0.5), listening=lambda _seeding: None)
    assert 0.5 <= ended.seconds <= time.monotonic() - began


@pytest.mark.parametrize(
    ("goal", "uploaded", "elapsed", "reached"),
    [
        (Goal(), 10**9, 10**9, False),
        (Goal(ratio=2.0), 199, 10**9, False),
        (Goal(ratio=2.0), 200, 0, True),
        (Goal(seconds=10), 10**9, 9.9, False),
        (Goal(seconds=10), 0, 10, True),
        (Goal(ratio=2.0, seconds=10), 0, 10, True),
        (Goal(ratio=0.0), 0, 0, True),
    ],
)
def test_whichever_end_comes_first_is_the_end(goal: Goal, uploaded: int, elapsed: float, reached: bool) -> None:
    assert goal.is_reached(uploaded, 100, elapsed) == reached


def test_a_folder_is_served_as_the_offered_torrent_if_its_bytes_are_those(tmp_path: Path) -> None:
    published = write_release(tmp_path / "published" / "official-name", {"x": 70_000, "y": 3})
    torrent = publish(published, V1)
    mine = write_release(tmp_path / "my-copy", {"x": 70_000, "y": 3})
    (mine / "notes.txt").write_text("mine")
    stranger = create_torrent(write_release(tmp_path / "stranger", {"x": 70_000, "y": 3}, seed=9))
    with serve(mine, torrents=(stranger, torrent)) as seeding:
        assert seeding.metadata == read_torrent(torrent)
        fetched = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
        assert contents(fetched.folder) == contents(published)
    with serve(mine) as seeding:
        assert seeding.metadata.infohash == read_torrent(torrent).infohash


def test_a_folder_that_is_not_the_offered_torrent_gets_one_of_its_own_and_that_is_told(tmp_path: Path) -> None:
    stranger = create_torrent(write_release(tmp_path / "stranger", {"x": 70_000}, seed=9))
    mine = write_release(tmp_path / "mine", {"x": 70_000})
    events: list[Event] = []
    seed(
        mine,
        options=replace(LOOPBACK, torrents=(stranger,)),
        listening=lambda _seeding: None,
        stop=lambda: True,
        emit=events.append,
    )
    assert Skipped(f"serving {mine} as stranger", "its bytes are not those of that torrent") in events


def test_a_release_that_is_known_is_served_in_its_own_swarm_with_metadata_from_there(tmp_path: Path) -> None:
    published = write_release(tmp_path / "published" / "official-name", {"x": 70_000, "y": 3})
    publish(published, V1)
    mine = write_release(tmp_path / "my-copy", {"x": 70_000, "y": 3})
    with serve(published) as first, serve(mine, link_of=lambda _folder: first.magnet) as seeding:
        assert seeding.metadata.infohash == first.metadata.infohash
        fetched = fetch(replace(first.magnet, peers=seeding.magnet.peers), tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == contents(published)
    with serve(mine) as again:  # what came from the swarm is kept
        assert again.metadata.infohash == first.metadata.infohash


def test_a_known_release_whose_swarm_is_silent_is_refused_rather_than_given_a_swarm_of_its_own(tmp_path: Path) -> None:
    mine = write_release(tmp_path / "mine", {"x": 70_000})
    known = Magnet("1" * 40, name="official-name", peers=(("127.0.0.1", free_port()),))

    def begin(**options: Any) -> list[Seeding]:
        seen: list[Seeding] = []
        chosen = replace(LOOPBACK, metadata_timeout=1, **options)
        seed_all([mine], options=chosen, listening=seen.append, link_of=lambda _folder: known, stop=lambda: True)
        return seen

    with pytest.raises(MetadataTimeout) as refused:
        begin()
    assert "--new-torrent" in refused.value.hint
    assert begin(new_torrent=True)[0].metadata.infohash != known.infohash


def test_a_known_release_that_we_made_ourselves_needs_nobody_to_ask(tmp_path: Path, release: Path) -> None:
    known = magnet_of(read_torrent(create_torrent(release)))
    with serve(release, link_of=lambda _folder: known) as seeding:
        assert seeding.metadata.infohash == known.infohash


def test_bytes_that_are_not_those_of_the_known_release_are_not_served_as_it(tmp_path: Path) -> None:
    published = write_release(tmp_path / "published" / "official-name", {"x": 70_000}, seed=9)
    publish(published, V1)
    mine = write_release(tmp_path / "mine", {"x": 70_000})
    with serve(published) as first, serve(mine, link_of=lambda _folder: first.magnet) as seeding:
        assert seeding.metadata.infohash != first.metadata.infohash


def test_whoever_fetched_may_stay_and_serve_the_next(tmp_path: Path, release: Path) -> None:
    port = free_port()
    finished, results = threading.Event(), list[Fetched]()
    options = replace(NEARBY, seed_ratio=1.0, listen=f"127.0.0.1:{port}")

    def stay(magnet: Magnet) -> None:
        results.append(fetch(magnet, tmp_path / "second", options=options, finished=lambda _fetched: finished.set()))

    with serve(release) as seeding:
        thread = threading.Thread(target=stay, args=[seeding.magnet])
        thread.start()
        assert finished.wait(PATIENCE)
    third = fetch(
        replace(seeding.magnet, peers=(("127.0.0.1", port),)), tmp_path / "third", options=NEARBY
    )  # the first seeder is gone
    assert contents(third.folder) == contents(release)
    thread.join(PATIENCE)
    assert results[0].uploaded >= results[0].metadata.total_size


def test_staying_ends_when_it_is_stopped_and_needs_nothing_to_be_downloaded(tmp_path: Path, release: Path) -> None:
    with serve(release) as seeding:
        fetch(seeding.magnet, tmp_path, options=NEARBY)
    asked: list[int] = []
    options = replace(NEARBY, seed=True)
    again = fetch(seeding.magnet, tmp_path, options=options, stop=lambda: bool(asked) or asked.append(1) is None)
    assert (again.downloaded, again.uploaded) == (0, 0)
    assert len(asked) == 1


def test_the_folder_of_a_damaged_release_alone_is_refused(tmp_path: Path, release: Path) -> None:
    with serve(release):
        pass
    (release / "params.json").write_text("{}")
    with pytest.raises(WrongBytesError):
        seed(release, options=LOOPBACK, listening=lambda _seeding: None, stop=lambda: True)


def test_a_caller_who_has_read_what_a_folder_remembers_may_say_it(tmp_path: Path) -> None:
    mine = write_release(tmp_path / "mine", {"x": 70_000})
    kept = create_torrent(write_release(tmp_path / "other-name", {"x": 70_000}))
    seen: list[Seeding] = []
    seed_all([mine], options=LOOPBACK, listening=seen.append, kept_torrent_of=lambda _folder: kept, stop=lambda: True)
    assert seen[0].metadata == read_torrent(kept)
