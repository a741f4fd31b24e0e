import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.byte_source import LocalFile
from magnetar.errors import UsageError
from magnetar.events import Adopted, Event, Moved
from magnetar.fetch.download.adoptable_files import AdoptableFiles
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.fetch.torrent.file_digests import FileDigests
from magnetar.fetch.torrent.metainfo import file_digests
from magnetar.manifests.hashing.merkle import merkle_root
from tests.fetch.world import HYBRID, NEARBY, V1, V2, contents, flip_byte, publish, serve, write_release

SIZES = {"big.bin": 400_003, "same.bin": 400_003, "sub/small.json": 333, "tail.bin": 90_000}
TOTAL = sum(SIZES.values())
PIECE = 16384


@pytest.fixture(scope="module", params=[V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
def offered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeding]:
    folder = write_release(tmp_path_factory.mktemp("offered") / "rel", SIZES)
    publish(folder, request.param, PIECE)
    with serve(folder) as seeding:
        yield seeding


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The user's own copy, from elsewhere."""
    return write_release(tmp_path / "mine", SIZES)


def fetch_from(offered: Seeding, parent: Path, *places: Path, **more: object):  # type: ignore[no-untyped-def]
    return fetch(offered.magnet, parent, options=replace(NEARBY, adopt=places, **more))  # type: ignore[arg-type]


def test_a_copy_from_elsewhere_is_taken_and_nothing_is_downloaded(tmp_path: Path, offered: Seeding, mine: Path) -> None:
    events: list[Event] = []
    options = replace(NEARBY, adopt=(mine,))
    fetched = fetch(offered.magnet, tmp_path / "new", options=options, emit=events.append)
    assert contents(fetched.folder) == contents(mine)
    assert fetched.downloaded == 0
    assert sum(event.amount for event in events if isinstance(event, Moved) and event.step == "adopt") == TOTAL
    assert any(isinstance(event, Adopted) and event.path == "big.bin" for event in events)
    assert all(path.stat().st_nlink == 1 for path in fetched.folder.glob("*.bin"))


def test_names_do_not_matter_where_the_bytes_tell_files_apart(tmp_path: Path, offered: Seeding, mine: Path) -> None:
    (mine / "big.bin").rename(mine / "x")
    (mine / "same.bin").rename(mine / "big.bin")
    (mine / "x").rename(mine / "same.bin")
    before = contents(mine)
    fetched = fetch_from(offered, tmp_path / "new", mine)
    assert fetched.downloaded == 0
    assert contents(fetched.folder)["big.bin"] == before["same.bin"]
    assert contents(mine) == before


@pytest.mark.parametrize("links", [False, True])
def test_a_damaged_copy_costs_a_piece_and_is_itself_left_alone(
    tmp_path: Path, offered: Seeding, mine: Path, links: bool
) -> None:
    whole = contents(mine)
    flip_byte(mine / "big.bin", 200_000)
    before = contents(mine)
    fetched = fetch_from(offered, tmp_path / "new", mine, adopt_links=links)
    assert contents(fetched.folder) == whole
    by_pieces = offered.metadata.infohash_v1  # a link of version 2 brings no hashes of pieces: the file comes anew
    assert 0 < fetched.downloaded <= (2 * PIECE if by_pieces else SIZES["big.bin"] + 2 * PIECE)
    assert contents(mine) == before
    assert not (fetched.folder / "big.bin").samefile(mine / "big.bin")
    assert (fetched.folder / "tail.bin").samefile(mine / "tail.bin") == links


def test_with_the_torrent_a_damaged_copy_costs_a_piece_in_version_2_too(tmp_path: Path, mine: Path) -> None:
    release = write_release(tmp_path / "published" / "rel", SIZES)
    torrent = publish(release, V2, PIECE)
    flip_byte(mine / "big.bin", 200_000)
    with serve(release) as seeding:
        options = replace(NEARBY, adopt=(mine,), peers=(("127.0.0.1", seeding.port),))
        fetched = fetch(torrent, tmp_path / "new", options=options)
    assert contents(fetched.folder) == contents(release)
    assert 0 < fetched.downloaded <= PIECE


def test_what_is_wholly_good_is_linked_if_asked(tmp_path: Path, offered: Seeding, mine: Path) -> None:
    fetched = fetch_from(offered, tmp_path / "new", mine, adopt_links=True)
    assert fetched.downloaded == 0
    assert all((fetched.folder / name).samefile(mine / name) for name in SIZES)


def test_parts_of_a_file_are_joined_in_numeric_order(tmp_path: Path, offered: Seeding, mine: Path) -> None:
    whole = contents(mine)
    for start in range(0, SIZES["big.bin"], 34_000):  # 12 parts: their names do not sort as their numbers do
        (mine / f"big.bin-split{start // 34_000}").write_bytes(whole["big.bin"][start : start + 34_000])
    (mine / "big.bin").unlink()
    fetched = fetch_from(offered, tmp_path / "new", mine)
    assert (contents(fetched.folder), fetched.downloaded) == (whole, 0)


def test_only_what_is_missing_is_adopted_and_only_what_is_missing_then_is_fetched(
    tmp_path: Path, offered: Seeding, mine: Path
) -> None:
    fetched = fetch_from(offered, tmp_path / "new")
    flip_byte(fetched.folder / "big.bin", 1000)
    (fetched.folder / "tail.bin").unlink()
    (mine / "tail.bin").unlink()
    again = fetch_from(offered, tmp_path / "new", mine)
    assert contents(again.folder)["big.bin"] == (mine / "big.bin").read_bytes()
    assert SIZES["tail.bin"] <= again.downloaded <= SIZES["tail.bin"] + 3 * PIECE


def test_an_older_versions_unchanged_files_are_known_by_their_roots(tmp_path: Path) -> None:
    old = write_release(tmp_path / "old" / "rel-v1", SIZES)
    publish(old, V2, PIECE)
    (old / "big.bin").rename(old / "moved.bin")
    new = write_release(tmp_path / "new" / "rel-v2", SIZES)
    (new / "tail.bin").write_bytes(b"changed" * 9000)
    unchanged = {digests.path: digests for digests in file_digests(publish(new, V2, PIECE))}
    first = next(AdoptableFiles([old], apart_from=new).candidates(unchanged["same.bin"]))
    assert first.paths == (old / "same.bin",)
    with serve(new) as seeding:
        fetched = fetch(seeding.magnet, tmp_path / "here", options=replace(NEARBY, adopt=(old,)))
    assert contents(fetched.folder) == contents(new)
    assert fetched.downloaded <= 63_000 + PIECE


def test_a_stranger_of_the_same_size_is_not_taken(tmp_path: Path, offered: Seeding) -> None:
    stranger = write_release(tmp_path / "stranger", {"big.bin": 400_003}, seed=99)
    events: list[Event] = []
    options = replace(NEARBY, adopt=(stranger,))
    fetched = fetch(offered.magnet, tmp_path / "new", options=options, emit=events.append)
    assert fetched.downloaded >= TOTAL
    assert not any(isinstance(event, Adopted) for event in events)


def test_the_folder_itself_and_what_is_no_plain_file_are_not_candidates(tmp_path: Path, mine: Path) -> None:
    os.mkfifo(mine / "pipe")
    (mine / "dangling").symlink_to(tmp_path / "nowhere")
    (mine / "snapshot.bin").symlink_to(mine / "tail.bin")  # as in a cache of Hugging Face
    found = file_digests(create_torrent(mine_without_links(mine), TorrentOptions(piece_length=PIECE)))
    shelf = AdoptableFiles([tmp_path], apart_from=mine)
    assert all(mine not in path.parents for file in found for c in shelf.candidates(file) for path in c.paths)


def mine_without_links(mine: Path) -> Path:
    return write_release(mine.parent / "plain" / "rel", SIZES)


def test_a_place_that_does_not_exist_is_said_so(tmp_path: Path, offered: Seeding) -> None:
    with pytest.raises(UsageError, match="nowhere: there is no such"):
        fetch_from(offered, tmp_path / "new", tmp_path / "nowhere")


@pytest.mark.parametrize("version", [V1, V2, HYBRID])
def test_each_digest_is_of_the_bytes_that_it_names(tmp_path: Path, version: int) -> None:
    folder = write_release(tmp_path / "r", {"a": 100_000, "b": 5, "c": 16_384, "d": 49_153, "e": 0})
    files = list(file_digests(publish(folder, version)))
    for file in (file for file in files if file.size):
        with LocalFile(folder / file.path) as source:
            assert all(piece.fits(source) for piece in file.digests)
            if file.root:
                assert merkle_root(source, 0, file.size) == file.root
        if version != V1:
            assert sum(piece.length for piece in file.digests) == file.size
        for piece in file.digests:
            flip_byte(folder / file.path, piece.offset + piece.length - 1)
            with LocalFile(folder / file.path) as source:
                assert not piece.fits(source)
            flip_byte(folder / file.path, piece.offset + piece.length - 1)


@settings(max_examples=200)
@given(st.integers(0, 60), st.integers(1, 90), st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_ranges_to_take_are_the_bytes_of_pieces_that_are_not_good(
    start: int, size: int, length: int, chance: random.Random
) -> None:
    pieces = [chance.random() < 0.5 for _ in range((start + size) // length + 1)]
    file = FileDigests("f", size, start, length, b"", ())
    taken = [place for offset, count in file.ranges_without(pieces) for place in range(offset, offset + count)]
    assert taken == [place for place in range(size) if not pieces[(start + place) // length]]
