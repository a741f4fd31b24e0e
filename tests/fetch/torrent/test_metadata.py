import os
import random
from pathlib import Path, PurePosixPath

import libtorrent as lt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import DiskError, MagnetarError, TorrentError, UsageError
from magnetar.events import Began, Ended, Event, Moved
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.fetch.torrent.metadata import TorrentFile, case_collisions, check_same, magnet_of
from magnetar.fetch.torrent.metainfo import damaged_paths, load, load_torrent, read_torrent, read_torrent_file
from tests.fetch.world import SIZES, write_release


def torrent_of(*paths: str, name: bytes = b"release", **more: object) -> bytes:
    """A version 1 torrent of 5-byte files, spelled by hand so that it can say what no honest tool would."""
    files = [{b"length": 5, b"path": [part.encode() for part in path.split("/")]} for path in paths]
    info = {b"files": files, b"name": name, b"piece length": 16384, b"pieces": b"\0" * 20, **more}
    return bytes(lt.bencode({b"info": {key if isinstance(key, bytes) else key.encode(): info[key] for key in info}}))


def test_a_torrent_made_from_a_folder_says_what_is_in_it(release: Path) -> None:
    metadata = read_torrent(create_torrent(release, TorrentOptions(trackers=("udp://a.example:1/announce",))))
    assert metadata.name == release.name
    assert {str(file.path): file.size for file in metadata.files} == SIZES
    assert metadata.total_size == sum(SIZES.values())
    assert (len(metadata.infohash_v1), len(metadata.infohash_v2)) == (40, 64)
    assert metadata.trackers == ("udp://a.example:1/announce",)
    assert not metadata.private


def test_the_same_files_make_the_same_torrent_whenever_and_wherever(tmp_path: Path, release: Path) -> None:
    first = create_torrent(release)
    for path in release.rglob("*"):
        os.utime(path, (1, 1))
    (release / ".magnetar").mkdir()
    (release / ".magnetar" / "lock").touch()
    again = write_release(tmp_path / "elsewhere" / release.name, dict(reversed(SIZES.items())))
    assert create_torrent(release) == first
    assert [file.path for file in read_torrent(first).files] == [
        file.path for file in read_torrent(create_torrent(again)).files
    ]
    assert b"creation date" not in first


def test_hashing_tells_every_byte_once_and_can_be_interrupted(release: Path) -> None:
    events: list[Event] = []
    create_torrent(release, TorrentOptions(piece_length=16384), emit=events.append)
    assert events[0] == Began("hash", sum(SIZES.values()))
    assert events[-1] == Ended("hash")
    assert sum(event.amount for event in events if isinstance(event, Moved)) == sum(SIZES.values())

    def interrupt(event: Event) -> None:
        if isinstance(event, Moved):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_torrent(release, emit=interrupt)


@pytest.mark.parametrize("piece_length", [100_000, 512 << 20])
def test_a_piece_length_that_torrents_cannot_have_is_refused(release: Path, piece_length: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        create_torrent(release, TorrentOptions(piece_length=piece_length))


def test_a_folder_without_files_or_with_links_is_not_published(tmp_path: Path, release: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no files"):
        create_torrent(tmp_path / "empty")
    (release / "link").symlink_to(release / "RELEASE")
    with pytest.raises(UsageError, match="symbolic link"):
        create_torrent(release)


def test_a_folder_that_cannot_be_read_is_the_disks_fault(tmp_path: Path) -> None:
    with pytest.raises((DiskError, UsageError)):
        create_torrent(tmp_path / "absent")


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/x", "", ".", "a//b", ".magnetar/origin.json", ".MAGNETAR/x", "a/.git/hooks/x",
     "a\\..\\b", "C:x", "new\nline", "\x1b[31m", ".magnetar /x", "x" * 256],
)  # fmt: skip
def test_a_torrent_whose_paths_leave_the_folder_or_forge_our_state_is_refused(path: str) -> None:
    with pytest.raises(TorrentError):
        read_torrent(torrent_of("good", path))


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"../x", b".magnetar", b".git", b"a\0b", b"a\\b"])
def test_a_torrent_whose_name_is_no_name_for_a_folder_is_refused(name: bytes) -> None:
    with pytest.raises(TorrentError):
        read_torrent(torrent_of("good", name=name))


def test_a_version_2_file_tree_cannot_leave_the_folder_either() -> None:
    leaf = {b"": {b"length": 5, b"pieces root": b"\1" * 32}}
    for tree in ({b"..": {b"x": leaf}}, {b".magnetar": {b"x": leaf}}, {b"a/b": leaf}):
        info = {b"file tree": tree, b"meta version": 2, b"name": b"release", b"piece length": 16384}
        with pytest.raises(TorrentError):
            read_torrent(lt.bencode({b"info": info}))


def test_a_torrent_that_names_a_path_twice_is_refused() -> None:
    for paths in (("a", "a"), ("a", "a/b"), ("a/b", "a")):
        with pytest.raises(TorrentError):
            read_torrent(torrent_of(*paths))


def test_a_torrent_that_holds_a_symbolic_link_is_refused() -> None:
    link = {b"attr": b"l", b"length": 0, b"path": [b"link"], b"symlink path": [b"good"]}
    good = {b"length": 5, b"path": [b"good"]}
    info = {b"files": [good, link], b"name": b"r", b"piece length": 16384, b"pieces": b"\0" * 20}
    with pytest.raises(TorrentError, match="symbolic link"):
        read_torrent(lt.bencode({b"info": info}))


def test_names_that_differ_only_in_case_or_form_are_noted_and_kept_apart() -> None:
    metadata = read_torrent(torrent_of("A.txt", "a.txt", "other"))
    assert case_collisions(metadata) == ["A.txt", "a.txt"]
    assert [str(file.path) for file in metadata.files] == ["A.txt", "a.txt", "other"]


def test_a_torrent_of_one_file_lands_in_a_folder_of_its_name() -> None:
    info = {b"length": 5, b"name": b"model.gguf", b"piece length": 16384, b"pieces": b"\0" * 20}
    metadata = read_torrent(lt.bencode({b"info": info}))
    assert (metadata.name, metadata.files) == ("model.gguf", (TorrentFile(PurePosixPath("model.gguf"), 5),))


def test_private_is_read_from_the_torrent() -> None:
    assert read_torrent(torrent_of("a", private=1)).private


def test_what_is_no_torrent_is_refused_with_the_reason(tmp_path: Path) -> None:
    for content in (b"", b"d", b"i1e", b"de", b"d4:infodee", b"<html>", b"l" * 100_000, torrent_of("a")[:-7]):
        with pytest.raises(TorrentError, match="cannot be read"):
            read_torrent(content)
    with pytest.raises(UsageError, match="no such file"):
        load_torrent(tmp_path / "absent.torrent")
    with pytest.raises(DiskError):
        load_torrent(tmp_path)
    (tmp_path / "huge.torrent").touch()
    os.truncate(tmp_path / "huge.torrent", 1 << 30)
    with pytest.raises(TorrentError, match="too large"):
        read_torrent_file(tmp_path / "huge.torrent")


@settings(max_examples=200)
@given(st.integers(0), st.binary(min_size=1, max_size=8))
def test_no_damage_to_a_torrent_leads_out_of_the_folder_or_to_an_unforeseen_error(place: int, new: bytes) -> None:
    content = torrent_of("a", "b/c", "d/e/f")
    place %= len(content)
    try:
        metadata = read_torrent(content[:place] + new + content[place + len(new) :])
    except MagnetarError:
        return
    for file in metadata.files:
        assert not file.path.is_absolute()
        assert ".." not in file.path.parts


def test_the_link_of_a_torrent_names_it_and_no_other(release: Path) -> None:
    metadata = read_torrent(create_torrent(release))
    check_same(metadata, magnet_of(metadata, peers=[("127.0.0.1", 1)]))
    check_same(metadata, Magnet("", metadata.infohash_v2))
    for other in (Magnet("0" * 40), Magnet(metadata.infohash_v1, "0" * 64)):
        with pytest.raises(TorrentError):
            check_same(metadata, other)


def test_a_bad_piece_is_blamed_on_the_files_that_it_touches(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r", {"a": 40_000, "b": 16_384, "c": 1, "d": 0})
    info = load(create_torrent(folder, TorrentOptions(piece_length=16384))).ti
    paths = ["a", "a", "a", "b", "c"]
    assert info.num_pieces() == len(paths)
    for bad in range(len(paths)):
        assert damaged_paths(info, [piece != bad for piece in range(len(paths))]) == [paths[bad]]
    wrong = random.Random(1).sample(range(len(paths)), 3)
    expected = sorted({paths[piece] for piece in wrong})
    assert damaged_paths(info, [piece not in wrong for piece in range(len(paths))]) == expected
