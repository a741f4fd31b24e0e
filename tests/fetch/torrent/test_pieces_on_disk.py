from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.fetch.torrent.pieces_on_disk import Pieces, find_bad_pieces
from tests.fetch.world import HYBRID, V1, V2, flip_byte, publish, write_release

PIECE = 16384
VERSIONS = pytest.mark.parametrize("version", [V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])


def expected(pieces: Pieces, changed: dict[str, range]) -> set[int]:
    """The pieces that hold some byte of what changed, told by the places of all pieces."""
    last = max(pieces.touching(["first.bin", "weights.bin", "last.bin"]))
    return {
        piece
        for piece in range(last + 1)
        for span in pieces.layout.spans(piece)
        if span.path in changed
        and span.offset < changed[span.path].stop
        and changed[span.path].start < span.offset + span.length
    }


def look(folder: Path, pieces: Pieces) -> set[int]:
    return set(find_bad_pieces(pieces, pieces.touching(["first.bin", "weights.bin", "last.bin"]), folder))


@VERSIONS
@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE - 1, 3 * PIECE, 3 * PIECE + 1])
def test_damage_is_found_at_every_size_around_a_piece(tmp_path: Path, version: int, size: int) -> None:
    sizes = {"first.bin": 700, "weights.bin": size, "last.bin": 900}
    folder = write_release(tmp_path / "r", sizes)
    pieces = Pieces(publish(folder, version, PIECE))
    path, whole = folder / "weights.bin", (folder / "weights.bin").read_bytes()
    assert look(folder, pieces) == set()
    flip_byte(path, size - 1)
    assert look(folder, pieces) == expected(pieces, {"weights.bin": range(size - 1, size)})
    path.write_bytes(whole[:-1])
    assert look(folder, pieces) == expected(pieces, {"weights.bin": range(size - 1, size)})
    middle = size // 2
    path.write_bytes(whole[:middle] + bytes(size - middle))
    assert look(folder, pieces) == expected(pieces, {"weights.bin": range(middle, size)})
    path.write_bytes(whole + b"more")
    assert look(folder, pieces) == set()
    path.unlink()
    assert look(folder, pieces) == expected(pieces, {"weights.bin": range(size)})


@VERSIONS
def test_two_files_that_were_swapped_are_bad_where_they_differ(tmp_path: Path, version: int) -> None:
    sizes = {"first.bin": 2 * PIECE, "weights.bin": 2 * PIECE, "last.bin": 900}
    folder = write_release(tmp_path / "r", sizes)
    pieces = Pieces(publish(folder, version, PIECE))
    (folder / "first.bin").rename(folder / "x")
    (folder / "weights.bin").rename(folder / "first.bin")
    (folder / "x").rename(folder / "weights.bin")
    assert look(folder, pieces) == set(pieces.touching(["first.bin", "weights.bin"]))


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(["first.bin", "weights.bin", "last.bin"]), st.integers(0, 1 << 30), min_size=1))
@VERSIONS
def test_wherever_a_bit_flips_just_its_piece_is_bad(tmp_path: Path, version: int, places: dict[str, int]) -> None:
    sizes = {"first.bin": 20_011, "weights.bin": 100_003, "last.bin": 77}
    folder = write_release(Path(mkdtemp(dir=tmp_path)) / "r", sizes)
    pieces = Pieces(publish(folder, version, PIECE))
    changed = {}
    for name, place in places.items():
        flip_byte(folder / name, place % sizes[name])
        changed[name] = range(place % sizes[name], place % sizes[name] + 1)
    bad = look(folder, pieces)
    assert bad == expected(pieces, changed)
    ranges = pieces.ranges(bad)
    for name, place in places.items():
        assert any(offset <= place % sizes[name] < offset + length for offset, length in ranges[name])
