"""Torrents made here, held against those that libtorrent makes of the same files."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import DiskError, UsageError
from magnetar.events import Event, Moved
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.torrent.create_torrent import Draft, TorrentOptions, Version, choose_piece_length, create_torrent
from magnetar.fetch.torrent.metainfo import file_digests, read_torrent
from magnetar.fetch.torrent.piece_hasher import Sha1Pieces, TreePieces
from tests.fetch.world import NEARBY, contents, serve, write_release

PIECE = 32768
FLAGS: dict[Version, int] = {"hybrid": 0, "v2": 32, "v1": 64}
AROUND = st.sampled_from([0, 1, 16383, 16384, 16385, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 5, 100_000])
NAMES = st.sampled_from(["a", "b/c", "b.c", "b/a", "Z", "release", "x/y/z", "é", "b-c", "d/e", "aa", "ab/c"])


def made_by_libtorrent(folder: Path, version: Version, piece_length: int = PIECE) -> dict[bytes, Any]:
    paths = sorted(
        (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
        key=lambda path: path.encode().split(b"/"),
    )
    entries = [lt.create_file_entry(f"{folder.name}/{path}", (folder / path).stat().st_size) for path in paths]
    draft = lt.create_torrent(entries, piece_length, FLAGS[version])
    lt.set_piece_hashes(draft, str(folder.parent), lambda _piece: None)
    made: dict[bytes, Any] = draft.generate()
    del made[b"creation date"]
    return made


@pytest.mark.parametrize("version", ["hybrid", "v2", "v1"])
@settings(max_examples=40)
@given(sizes=st.dictionaries(NAMES, AROUND, min_size=1, max_size=6), seed=st.integers(0, 3))
def test_it_is_byte_for_byte_the_torrent_that_libtorrent_makes(
    version: Version, sizes: dict[str, int], seed: int
) -> None:
    if not any(sizes.values()):
        return  # libtorrent publishes no folder of empty files
    if version == "hybrid" and sorted(sizes) != sorted(sizes, key=lambda path: path.encode().split(b"/")):
        return  # libtorrent takes b.c before b/c there, and refuses to read what it made; see below
    with tempfile.TemporaryDirectory() as parent:
        folder = write_release(Path(parent) / "release", sizes, seed=seed)
        ours = lt.bdecode(create_torrent(folder, TorrentOptions(version=version, piece_length=PIECE)))
        assert ours == made_by_libtorrent(folder, version)


def test_a_hybrid_torrent_lists_its_files_in_the_order_of_its_tree_even_where_libtorrent_would_not(
    tmp_path: Path,
) -> None:
    folder = write_release(tmp_path / "release", {"b/c": 7_000, "b.c": 100_000})
    made = made_by_libtorrent(folder, "hybrid")
    with pytest.raises(RuntimeError, match="does not match"):
        lt.load_torrent_buffer(lt.bencode(made))
    assert [str(file.path) for file in read_torrent(create_torrent(folder)).files] == ["b/c", "b.c"]


@settings(max_examples=100)
@given(st.binary(max_size=200_000), st.lists(st.integers(1, 70_000), max_size=10), st.integers(0, PIECE - 1))
def test_the_hashes_do_not_depend_on_how_the_bytes_came(data: bytes, cuts: list[int], skip: int) -> None:
    def portions() -> Iterator[memoryview]:
        rest = memoryview(data)
        for cut in cuts:
            yield rest[:cut]
            rest = rest[cut:]
        yield rest

    at_once, in_portions = (Sha1Pieces(PIECE, skip), TreePieces(PIECE)), (Sha1Pieces(PIECE, skip), TreePieces(PIECE))
    for hasher in at_once:
        hasher.update(memoryview(data))
    for portion in portions():
        for hasher in in_portions:
            hasher.update(portion)
    assert at_once[0].end(padded=True) == in_portions[0].end(padded=True)
    assert at_once[1].end() == in_portions[1].end()
    whole = [data[place : place + PIECE] for place in range(skip, len(data), PIECE)]
    expected = [hashlib.sha1(piece.ljust(PIECE, b"\0")).digest() for piece in whole]
    assert at_once[0].digests == expected


def test_the_piece_length_grows_with_the_root_of_the_size_and_ends_at_16_mib() -> None:
    expected = {0: 16384, 7_300_000: 32768, 1 << 30: 512 << 10, 87_000_000_000: 4 << 20, 300_000_000_000: 8 << 20}
    assert {total: choose_piece_length(total) for total in expected} == expected
    assert choose_piece_length(1 << 50) == 16 << 20
    for power in range(14, 24):
        largest = (1 << 2 * power) // 100
        assert choose_piece_length(largest) == 1 << power
        assert choose_piece_length(largest + 1) == 1 << power + 1
        draft = lt.create_torrent([lt.create_file_entry("r/x", largest)], 0)
        assert draft.piece_length() == 1 << power


def test_names_are_sorted_and_neither_times_nor_modes_count(tmp_path: Path) -> None:
    sizes = {"b": 70_000, "a/z": 5, "a.b": 40_000, "B": 1}
    first = write_release(tmp_path / "here" / "release", sizes)
    second = write_release(tmp_path / "there" / "release", dict(reversed(sizes.items())))
    for name, data in contents(first).items():
        (second / name).write_bytes(data)
        os.utime(second / name, (1, 1))
        (second / name).chmod(0o755)
    for version in FLAGS:
        options = TorrentOptions(version=version)
        assert create_torrent(first, options) == create_torrent(second, options)
    assert [str(file.path) for file in Draft(second, TorrentOptions(version="v1")).files] == ["B", "a/z", "a.b", "b"]


def test_what_the_wish_says_is_in_the_metadata_and_only_private_changes_the_infohash(release: Path) -> None:
    plain = read_torrent(create_torrent(release))
    options = TorrentOptions(
        trackers=("udp://a.example:1/announce", "http://b.example/announce"),
        web_seeds=("https://c.example/weights/",),
        comment="Härter",
    )
    told = create_torrent(release, options)
    assert read_torrent(told).infohash == plain.infohash
    assert read_torrent(told).trackers == options.trackers
    assert read_torrent(told).web_seeds == options.web_seeds
    assert lt.load_torrent_buffer(told).comment == "Härter"
    private = read_torrent(create_torrent(release, TorrentOptions(private=True)))
    assert private.private
    assert private.infohash != plain.infohash


@pytest.mark.parametrize(
    "options",
    [
        TorrentOptions(piece_length=100_000),
        TorrentOptions(trackers=("tracker.example",)),
        TorrentOptions(web_seeds=("file:///etc/",)),
    ],
)
def test_a_wish_that_no_torrent_can_grant_is_refused_before_anything_is_read(
    release: Path, options: TorrentOptions
) -> None:
    with pytest.raises(UsageError):
        Draft(release, options)


def test_pieces_so_short_that_no_client_takes_them_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "weights").touch()
    os.truncate(tmp_path / "large" / "weights", 300_000_000_000)
    for version in FLAGS:
        with pytest.raises(UsageError, match="that clients refuse") as caught:
            Draft(tmp_path / "large", TorrentOptions(version=version, piece_length=16384))
        assert str(8 << 20) in caught.value.hint
        assert Draft(tmp_path / "large", TorrentOptions(version=version)).piece_length == 8 << 20


def test_a_link_to_a_folder_a_pipe_and_a_name_that_is_no_text_are_refused(tmp_path: Path) -> None:
    for number, spoil in enumerate(
        (
            lambda folder: (folder / "link").symlink_to(tmp_path),
            lambda folder: os.mkfifo(folder / "pipe"),
            lambda folder: (folder / "bad\udcff").write_bytes(b"x"),
            lambda folder: (folder / "new\nline").write_bytes(b"x"),
        )
    ):
        folder = write_release(tmp_path / str(number), {"a": 5})
        spoil(folder)
        with pytest.raises(UsageError):
            create_torrent(folder)


def test_a_file_that_changes_while_it_is_read_is_not_published(release: Path) -> None:
    def grow(event: Event) -> None:
        if isinstance(event, Moved):
            (release / "params.json").write_bytes(b"x" * 121)

    with pytest.raises(DiskError, match=r"params\.json: changed while it was read"):
        create_torrent(release, emit=grow)


def test_what_stops_the_hashing_stops_it_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "sparse"
    folder.mkdir()
    (folder / "weights").touch()
    os.truncate(folder / "weights", 64 << 30)  # a minute's work, if it were done
    passed: list[int] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, Moved):
            passed.append(event.amount)
            if len(passed) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_torrent(folder, TorrentOptions(version="v2"), emit=interrupt)
    assert sum(passed) < 1 << 30


@pytest.mark.parametrize("version", ["hybrid", "v2"])
def test_a_release_with_two_files_alike_is_served_to_whoever_has_only_the_link(
    tmp_path: Path, version: Version
) -> None:
    folder = write_release(tmp_path / "alike", {"one": 200_000})
    (folder / "two").write_bytes((folder / "one").read_bytes())
    torrent = create_torrent(folder, TorrentOptions(version=version, piece_length=16384))
    assert [digests.path for digests in file_digests(torrent) if len(digests.digests) == 13] == ["one", "two"]
    with serve(folder, torrents=(torrent,)) as seeding:
        assert seeding.metadata.infohash_v2 == read_torrent(torrent).infohash_v2
        fetched = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == contents(folder)
