import os
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest

from magnetar.errors import FolderLocked, OutsideError, UsageError, WrongBytesError
from magnetar.events import Began, Event, SwarmSeen
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.download.state_folder import read_kept_torrent
from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.seed.seed import Seeded, Seeding, seed
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER, lock_folder
from tests.fetch.world import NEARBY, contents, serve


def test_seeding_the_same_folder_twice_gives_the_same_torrent(release: Path) -> None:
    with serve(release) as first:
        pass
    with serve(release) as second:
        assert second.metadata == first.metadata
    assert (second.magnet.infohash_v1, second.magnet.infohash_v2) == (
        first.magnet.infohash_v1,
        first.magnet.infohash_v2,
    )


def test_a_folder_that_was_fetched_is_seeded_as_the_same_torrent(tmp_path: Path, release: Path) -> None:
    with serve(release, piece_length=65536) as seeding:
        fetched = fetch(seeding.magnet, tmp_path / "second", options=NEARBY)
    fetched.folder.rename(tmp_path / "second" / "renamed")
    with serve(tmp_path / "second" / "renamed") as again:
        assert again.metadata.infohash_v2 == seeding.metadata.infohash_v2
        third = fetch(again.magnet, tmp_path / "third", options=NEARBY)
    assert contents(third.folder) == contents(release)


def test_the_link_on_loopback_leads_to_the_seeder_alone(release: Path) -> None:
    with serve(release, trackers=("udp://tracker.example:1/announce",)) as seeding:
        assert seeding.magnet.peers == (("127.0.0.1", seeding.port),)
        assert seeding.magnet.trackers == ("udp://tracker.example:1/announce",)
        with closing(socket.create_connection(("127.0.0.1", seeding.port), 5)):
            pass


def test_a_changed_file_is_named_and_nothing_is_served(release: Path) -> None:
    with serve(release):
        pass
    (release / "params.json").write_text("{}")
    (release / "tok" / "tokenizer.model").unlink()
    with pytest.raises(WrongBytesError, match=r"params\.json, tok/tokenizer\.model") as caught, serve(release):
        pass
    assert STATE_FOLDER in caught.value.hint


def test_the_end_is_asked_for_and_what_was_sent_is_told(tmp_path: Path, release: Path) -> None:
    stop, done = threading.Event(), list[Seeded]()
    events: list[Event] = []

    def fetch_then_stop(seeding: Seeding) -> None:
        def work() -> None:
            try:
                fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
            finally:
                stop.set()

        threading.Thread(target=work).start()

    done.append(
        seed(
            release, options=SeedOptions(loopback=True), listening=fetch_then_stop, stop=stop.is_set, emit=events.append
        )
    )
    assert done[0].uploaded >= done[0].metadata.total_size
    assert [event.step for event in events if isinstance(event, Began)] == ["hash", "check"]
    assert max(event.uploaded for event in events if isinstance(event, SwarmSeen)) == done[0].uploaded


def test_ctrl_c_passes_through_and_lets_go_of_the_folder(release: Path) -> None:
    def interrupt(_seeding: Seeding) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed(release, options=SeedOptions(loopback=True), listening=interrupt)
    with lock_folder(release):
        pass


def test_an_address_that_is_not_ours_or_in_use_is_said_so(release: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for address in ("192.0.2.1:6881", f"127.0.0.1:{taken.getsockname()[1]}"):
            with pytest.raises(OutsideError, match=address), serve(release, listen=address):
                pass


def test_what_cannot_be_seeded_is_refused(tmp_path: Path, release: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "absent", tmp_path / "empty", release / "RELEASE"):
        with pytest.raises(UsageError), serve(folder):
            pass
    with lock_folder(release), pytest.raises(FolderLocked), serve(release):
        pass


def test_a_folder_that_may_not_be_written_to_is_served_without_state(
    release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != release)
    with serve(release) as seeding:
        assert contents(fetch(seeding.magnet, tmp_path / "new", options=NEARBY).folder) == contents(release)
    assert not (release / STATE_FOLDER).exists()


def test_what_is_kept_beside_the_files_is_the_torrent(release: Path) -> None:
    with serve(release) as seeding:
        assert read_torrent(read_kept_torrent(release)) == seeding.metadata
    assert read_kept_torrent(release) == create_torrent(release)


def test_what_took_a_files_place_is_named_and_not_waited_for(release: Path) -> None:
    with serve(release):
        pass
    (release / "params.json").unlink()
    os.mkfifo(release / "params.json")
    with pytest.raises(UsageError, match=r"params\.json: is in the way"), serve(release):
        pass
