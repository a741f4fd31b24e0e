import os
import time
from dataclasses import replace
from pathlib import Path

import libtorrent as lt
import pytest

from magnetar.errors import FolderLocked, MetadataTimeout, Stalled, TorrentError, UsageError
from magnetar.events import Began, Ended, Event, FileSeen, LinkHealed, Moved, SwarmSeen, TrackerAnswered
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.link.magnet import Magnet, parse_magnet
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.files import STATE_FOLDER, lock_folder
from magnetar.manifests.folder.origin import Origin, read_origin
from tests.fetch.world import HYBRID, NEARBY, SIZES, V1, V2, contents, flip_byte, publish, serve, write_release
from tests.patience import patiently

TOTAL = sum(SIZES.values())


def test_a_link_brings_every_byte_and_says_how_many(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    events: list[Event] = []
    fetched = fetch(parse_magnet(str(published.magnet)), tmp_path / "new", options=NEARBY, emit=events.append)
    assert fetched.folder == tmp_path / "new" / "mixtral-tiny"
    assert contents(fetched.folder) == payload
    assert fetched.complete
    assert fetched.metadata.infohash == published.metadata.infohash
    assert TOTAL <= fetched.downloaded < 1.1 * TOTAL  # padding of a hybrid torrent travels too
    assert Began("download", TOTAL) in events
    assert sum(event.amount for event in events if isinstance(event, Moved)) == TOTAL
    assert [event.step for event in events if isinstance(event, Ended)] == ["metadata", "download"]
    origin = Origin("mixtral-tiny", fetched.metadata.infohash_v1, fetched.metadata.infohash_v2, complete=True)
    assert read_origin(fetched.folder) == origin


def test_how_far_each_file_is_is_told_while_it_comes(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "two", {"a": 3_000_000, "b": 1_000_000, "left": 90_000})
    events: list[Event] = []
    with serve(release, piece_length=65536, upload_limit=1_500_000) as seeding:
        fetch(seeding.magnet, tmp_path / "new", options=replace(NEARBY, exclude=("left",)), emit=events.append)
    seen = [event for event in events if isinstance(event, FileSeen)]
    for path, size in (("a", 3_000_000), ("b", 1_000_000)):
        counts = [event.done for event in seen if (event.path, event.total) == (path, size)]
        assert counts == sorted(set(counts))
        assert counts[-1] == size
    assert {event.path for event in seen} == {"a", "b"}
    assert any(event.done < event.total for event in seen)


def test_a_torrent_file_does_as_well_as_a_link(tmp_path: Path, published: Seeding, payload: dict[str, bytes]) -> None:
    release = write_release(tmp_path / "again" / "mixtral-tiny")
    (tmp_path / "x.torrent").write_bytes(create_torrent(release, TorrentOptions(piece_length=32768)))
    options = replace(NEARBY, peers=(("127.0.0.1", published.port),))
    fetched = fetch(tmp_path / "x.torrent", tmp_path / "new", options=options)
    assert contents(fetched.folder) == payload
    assert fetch((tmp_path / "x.torrent").read_bytes(), tmp_path / "new", options=options).downloaded == 0


def test_a_second_fetch_needs_nobody_and_downloads_nothing(tmp_path: Path, published: Seeding) -> None:
    fetch(published.magnet, tmp_path, options=NEARBY)
    alone = replace(published.magnet, peers=())
    events: list[Event] = []
    fetched = fetch(alone, tmp_path, options=NEARBY, emit=events.append)
    assert (fetched.downloaded, fetched.complete) == (0, True)
    assert [event.step for event in events if isinstance(event, Began)] == ["check"]


def test_a_release_whose_folder_was_renamed_is_found_by_its_infohash(tmp_path: Path, published: Seeding) -> None:
    fetch(published.magnet, tmp_path, options=NEARBY).folder.rename(tmp_path / "mine")
    fetched = fetch(replace(published.magnet, peers=()), tmp_path, options=NEARBY)
    assert (fetched.folder, fetched.downloaded) == (tmp_path / "mine", 0)
    assert not (tmp_path / "mixtral-tiny").exists()


def test_what_was_healed_in_the_link_is_told(tmp_path: Path, published: Seeding) -> None:
    magnet = parse_magnet(str(published.magnet).removeprefix("magnet:?") + "&tr=udp%3A%2F%2Fbroken...")
    events: list[Event] = []
    fetched = fetch(magnet, tmp_path, options=NEARBY, emit=events.append)
    assert len(fetched.healed) == 2
    assert [event.repair for event in events if isinstance(event, LinkHealed)] == list(fetched.healed)


@pytest.mark.parametrize("version", [V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
def test_every_version_of_the_protocol_is_fetched_by_link(tmp_path: Path, version: int) -> None:
    release = write_release(tmp_path / "published" / "r", {"a": 300_001, "b/c": 99, "d": 65_536})
    publish(release, version)
    with serve(release) as seeding:
        fetched = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
        assert contents(fetched.folder) == contents(release)
    assert bool(fetched.metadata.infohash_v1) == (version != V2)
    assert bool(fetched.metadata.infohash_v2) == (version != V1)
    flip_byte(fetched.folder / "a", 150_000)
    with serve(release) as seeding:
        again = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
        assert contents(again.folder) == contents(release)
    assert 0 < again.downloaded <= 3 * 16384  # the metadata kept by a version 2 torrent has the hash of each piece


def test_identical_files_in_one_torrent_reach_who_has_only_the_link(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "twins", {"a": 200_000})
    (release / "b").write_bytes((release / "a").read_bytes())
    with serve(release, piece_length=16384) as seeding:
        fetched = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
        assert contents(fetched.folder) == contents(release)
    with serve(fetched.folder) as seeding:
        assert contents(fetch(seeding.magnet, tmp_path / "third", options=NEARBY).folder) == contents(release)


def test_a_release_of_one_file_lands_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(os.urandom(100_000))
    draft = lt.create_torrent([lt.create_file_entry("model.gguf", 100_000)], 16384)
    lt.set_piece_hashes(draft, str(tmp_path), lambda _piece: None)
    home = tmp_path / "home" / "model.gguf"
    home.mkdir(parents=True)
    (tmp_path / "model.gguf").rename(home / "model.gguf")
    (home / STATE_FOLDER).mkdir()
    (home / STATE_FOLDER / "release.torrent").write_bytes(lt.bencode(draft.generate()))
    with serve(home) as seeding:
        fetched = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == contents(home)
    assert fetched.folder == tmp_path / "new" / "model.gguf"


def test_names_that_differ_only_in_case_both_arrive(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", {"Weights": 20_000, "weights": 30_000})
    if len(list(release.iterdir())) < 2:
        pytest.skip("needs a file system on which case counts: put the temporary folder on one (TMPDIR)")
    with serve(release) as seeding:
        assert contents(fetch(seeding.magnet, tmp_path / "new", options=NEARBY).folder) == contents(release)


def test_a_release_of_many_small_files_arrives(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "many", {f"layer{n % 40}/t{n}": 50 + n for n in range(2000)})
    publish(release, V1)
    with serve(release) as seeding:
        assert contents(fetch(seeding.magnet, tmp_path / "new", options=NEARBY).folder) == contents(release)


def test_a_dead_link_ends_in_time_with_what_was_seen_and_leaves_nothing(tmp_path: Path) -> None:
    tracker = "http://127.0.0.1:9/announce"
    magnet = Magnet("1" * 40, name="ghost", trackers=(tracker,), peers=(("127.0.0.1", 9),))
    events: list[Event] = []

    def attempt(seconds: float) -> MetadataTimeout:
        events.clear()
        with pytest.raises(MetadataTimeout, match=f"ghost.*within {seconds:.0f} s.*0 peers") as caught:
            fetch(magnet, tmp_path / "new", options=replace(NEARBY, metadata_timeout=seconds), emit=events.append)
        assert caught.value.waited is not None
        assert caught.value.waited > seconds
        return caught.value

    timeout = patiently(attempt, lambda timeout: f"{tracker}: " in timeout.message)
    assert f"{tracker}: " in timeout.message
    assert "--peer" in timeout.hint
    assert (timeout.infohash, timeout.peers) == ("1" * 40, 0)
    assert [event.url for event in events if isinstance(event, TrackerAnswered) and event.error] == [tracker]
    assert not (tmp_path / "new").exists()


def test_a_swarm_without_payload_is_a_stall_and_not_an_endless_wait(tmp_path: Path, release: Path) -> None:
    torrent = create_torrent(release)
    with pytest.raises(Stalled, match=f"{TOTAL:,} of {TOTAL:,} bytes still to come.*0 peers") as caught:
        fetch(torrent, tmp_path / "new", options=replace(NEARBY, stall_timeout=1))
    assert (caught.value.missing, caught.value.total) == (TOTAL, TOTAL)
    assert caught.value.waited is not None
    assert caught.value.waited > 1
    with serve(release) as seeding:
        fetched = fetch(torrent, tmp_path / "new", options=replace(NEARBY, peers=(("127.0.0.1", seeding.port),)))
    assert contents(fetched.folder) == contents(release)


def test_the_limits_hold_on_loopback(tmp_path: Path, release: Path, payload: dict[str, bytes]) -> None:
    limit = 3_000_000
    with serve(release, piece_length=32768) as seeding:
        began = time.monotonic()
        fetch(seeding.magnet, tmp_path / "down", options=replace(NEARBY, download_limit=limit))
        assert time.monotonic() - began > 0.6 * TOTAL / limit
    with serve(release, upload_limit=limit) as seeding:
        began = time.monotonic()
        fetch(seeding.magnet, tmp_path / "up", options=NEARBY)
        assert time.monotonic() - began > 0.6 * TOTAL / limit


def test_a_torrent_that_writes_into_our_state_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    files = [{b"length": 5, b"path": [b".magnetar", b"origin.json"]}]
    info = {b"files": files, b"name": b"evil", b"piece length": 16384, b"pieces": b"\0" * 20}
    with pytest.raises(TorrentError, match="magnetar"):
        fetch(bytes(lt.bencode({b"info": info})), tmp_path / "new", options=NEARBY)
    assert not (tmp_path / "new").exists()


def test_a_second_process_on_the_same_folder_is_told_so(tmp_path: Path, published: Seeding) -> None:
    with lock_folder(tmp_path / "mixtral-tiny"), pytest.raises(FolderLocked) as caught:
        fetch(published.magnet, tmp_path, options=NEARBY)
    assert caught.value.path == tmp_path / "mixtral-tiny"


def test_two_releases_of_one_name_do_not_mix(tmp_path: Path, published: Seeding, payload: dict[str, bytes]) -> None:
    fetched = fetch(published.magnet, tmp_path, options=NEARBY)
    other = create_torrent(write_release(tmp_path / "other" / "mixtral-tiny", {"RELEASE": 5}))
    with pytest.raises(UsageError, match="another release"):
        fetch(other, tmp_path, options=NEARBY)
    assert contents(fetched.folder) == payload


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path: Path, published: Seeding) -> None:
    (tmp_path / "mixtral-tiny").write_text("mine")
    with pytest.raises(UsageError, match="not a folder"):
        fetch(published.magnet, tmp_path, options=NEARBY)
    assert (tmp_path / "mixtral-tiny").read_text() == "mine"


def test_three_seeders_serve_one_fetch(tmp_path: Path, release: Path) -> None:
    copies = [release, *(write_release(tmp_path / f"copy{n}" / "mixtral-tiny") for n in range(2))]
    for limit in (900_000, 300_000, 50_000):  # ever slower, until all have joined before the end
        with (
            serve(copies[0], upload_limit=limit) as a,
            serve(copies[1], upload_limit=limit) as b,
            serve(copies[2], upload_limit=limit) as c,
        ):
            events: list[Event] = []
            magnet = replace(a.magnet, peers=(*a.magnet.peers, *b.magnet.peers, *c.magnet.peers))
            fetched = fetch(magnet, tmp_path / str(limit), options=NEARBY, emit=events.append)
        assert contents(fetched.folder) == contents(release)
        if max(event.peers for event in events if isinstance(event, SwarmSeen)) == 3:
            return
    pytest.fail("the three were never seen together")


def test_a_fetch_that_returns_has_its_bytes_on_disk_and_not_only_in_memory(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", {"a": 300_000})
    with serve(release) as seeding:
        for attempt in range(8):
            fetched = fetch(seeding.magnet, tmp_path / str(attempt), options=NEARBY)
            assert contents(fetched.folder) == contents(release)
