import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import Stalled, UsageError
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.repair.patch_pieces import write_different
from magnetar.fetch.repair.repair_pieces import repair
from magnetar.fetch.request.mirrors import ReleaseMirror
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.pieces_on_disk import Pieces, find_bad_pieces
from magnetar.files import STATE_FOLDER
from tests import needs
from tests.fetch.mirror_world import mirror_server
from tests.fetch.world import HYBRID, NEARBY, V1, V2, contents, flip_byte, publish, serve, write_release

SIZES = {"a.bin": 100_003, "big.bin": 400_003, "sub/small.json": 333, "tail.bin": 90_000, "empty": 0}
PIECE = 16384
NOBODY = replace(NEARBY, stall_timeout=1.0)


@dataclass(frozen=True)
class Offer:
    seeding: Seeding
    torrent: bytes

    def asking(self, **more: object) -> FetchOptions:
        return replace(NEARBY, peers=self.seeding.magnet.peers, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
def offered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offer]:
    folder = write_release(tmp_path_factory.mktemp("offered") / "rel", SIZES)
    torrent = publish(folder, request.param, PIECE)
    with serve(folder) as seeding:
        yield Offer(seeding, torrent)


@pytest.fixture
def mine(tmp_path: Path, offered: Offer) -> Path:
    """The user's copy, which remembers its torrent."""
    return copy_of(offered.torrent, tmp_path / "mine" / "rel")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another copy, from elsewhere."""
    return write_release(tmp_path / "other", SIZES)


def copy_of(torrent: bytes, folder: Path) -> Path:
    write_release(folder, SIZES)
    (folder / STATE_FOLDER).mkdir()
    (folder / STATE_FOLDER / "release.torrent").write_bytes(torrent)
    return folder


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}


def changed(folder: Path, before: dict[str, int]) -> set[str]:
    return {name for name, at in stamps(folder).items() if at != before.get(name)}


def test_a_damaged_piece_is_fetched_and_nothing_else_is_touched(mine: Path, offered: Offer) -> None:
    whole, before = contents(mine), stamps(mine)
    flip_byte(mine / "big.bin", 200_000)
    repaired = repair(mine, options=offered.asking())
    assert contents(mine) == whole
    assert (repaired.pieces, repaired.written, repaired.adopted) == (1, 4096, 0)
    assert PIECE <= repaired.downloaded <= 3 * PIECE
    assert [path for path, _ in repaired.ranges.items()] == ["big.bin"]
    assert changed(mine, before) == {"big.bin"}
    assert not (mine / STATE_FOLDER / "repair").exists()


def test_whatever_happened_to_the_files_they_come_back(mine: Path, offered: Offer) -> None:
    whole = contents(mine)
    flip_byte(mine / "a.bin", 100_002)  # in version 1, a piece with the beginning of the next file
    os.truncate(mine / "big.bin", 250_000)
    (mine / "sub" / "small.json").unlink()
    (mine / "sub").rmdir()
    with (mine / "tail.bin").open("ab") as stream:
        stream.write(b"more")
    (mine / "empty").unlink()
    repaired = repair(mine, options=offered.asking())
    assert contents(mine) == whole
    assert set(repaired.resized) == {"tail.bin", "empty"} - repaired.ranges.keys()
    assert repair(mine, options=NOBODY).pieces == 0


def test_a_copy_mends_without_a_network_though_it_is_damaged_elsewhere(mine: Path, other: Path, offered: Offer) -> None:
    whole, before = contents(mine), stamps(mine)
    flip_byte(mine / "big.bin", 200_000)
    flip_byte(mine / "a.bin", 100_002)
    flip_byte(other / "big.bin", 100)  # where ours is good, in the piece that ends a.bin if pieces span files
    flip_byte(other / "tail.bin", 5)
    copied = contents(other)
    repaired = repair(mine, options=replace(NOBODY, adopt=(other,)))
    assert contents(mine) == whole
    assert repaired.downloaded == 0 < repaired.written <= 2 * 4096
    assert changed(mine, before) == {"big.bin", "a.bin"}
    assert contents(other) == copied


def test_where_nobody_has_a_piece_what_can_be_mended_is_and_the_rest_stays(
    mine: Path, other: Path, offered: Offer
) -> None:
    whole = contents(mine)
    flip_byte(mine / "big.bin", 200_000)
    flip_byte(mine / "big.bin", 300_000)
    flip_byte(other / "big.bin", 300_100)
    damaged = contents(mine)["big.bin"]
    with pytest.raises(Stalled):
        repair(mine, options=replace(NOBODY, adopt=(other,)))
    assert contents(mine)["big.bin"][:290_000] == whole["big.bin"][:290_000]
    assert contents(mine)["big.bin"][290_000:] == damaged[290_000:]


@settings(max_examples=8)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a.bin", "big.bin", "sub/small.json", "tail.bin"]), st.integers(0, 1 << 30)),
        min_size=1,
        max_size=6,
    )
)
def test_wherever_bits_flip_only_their_blocks_are_written(
    mine: Path, other: Path, places: list[tuple[str, int]]
) -> None:
    whole = contents(mine)
    for name, place in places:
        flip_byte(mine / name, place % SIZES[name])
    differing = {
        (name, place % SIZES[name] // 4096)
        for name, place in places
        if contents(mine)[name][place % SIZES[name]] != whole[name][place % SIZES[name]]
    }
    repaired = repair(mine, options=replace(NOBODY, adopt=(other,)))
    assert contents(mine) == whole
    assert repaired.written <= 4096 * len(differing)


def test_another_name_of_a_damaged_file_keeps_its_bytes(mine: Path, other: Path, tmp_path: Path) -> None:
    flip_byte(mine / "big.bin", 200_000)
    os.link(mine / "big.bin", tmp_path / "elsewhere")
    damaged = (tmp_path / "elsewhere").read_bytes()
    repair(mine, options=replace(NOBODY, adopt=(other,)))
    assert (tmp_path / "elsewhere").read_bytes() == damaged != (mine / "big.bin").read_bytes()


@pytest.mark.parametrize(("step", "count"), [("download", 2), ("mend", 1), ("mend", 12)])
def test_a_repair_that_was_killed_goes_on_where_it_was(mine: Path, offered: Offer, step: str, count: int) -> None:
    whole = contents(mine)
    with (mine / "big.bin").open("r+b") as stream:
        stream.seek(40_000)
        stream.write(bytes(330_000))
    before = stamps(mine)
    host, port = offered.seeding.magnet.peers[0]
    words = [
        sys.executable,
        "-m",
        "tests.fetch.repair.interrupted_repair",
        str(mine),
        host,
        str(port),
        step,
        str(count),
    ]
    assert subprocess.run(words, check=False, stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
    left = contents(mine)
    assert left["big.bin"][:32768] == whole["big.bin"][:32768]  # what was good is as it was
    assert changed(mine, before) <= {"big.bin"}
    pieces = Pieces(offered.torrent)
    suspects = pieces.provable(pieces.touching(["big.bin"]))
    mended = len(suspects) - len(find_bad_pieces(pieces, suspects, mine))
    repaired = repair(mine, options=offered.asking())
    assert contents(mine) == whole
    assert repaired.pieces == len(suspects) - mended
    if step == "mend":
        assert repaired.downloaded == 0  # all of it had come, and was kept


FULL_DISK = """
import json, resource, signal, sys
from dataclasses import replace
from pathlib import Path
from magnetar.errors import MagnetarError
from magnetar.fetch.repair.repair_pieces import repair
from tests.fetch.world import NEARBY
folder, host, port, *adopt = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
options = replace(NEARBY, peers=((host, int(port)),), adopt=tuple(map(Path, adopt)))
try:
    repair(Path(folder), options=options)
except MagnetarError as error:
    print(json.dumps([type(error).__name__, int(error.exit_code), error.message, error.hint]))
"""


@needs.linux
@pytest.mark.parametrize("source", ["copy", "peer"])
def test_a_disk_that_is_full_costs_no_good_byte_and_the_next_repair_goes_on(
    mine: Path, other: Path, offered: Offer, source: str
) -> None:
    whole, before = contents(mine), stamps(mine)
    flip_byte(mine / "big.bin", 40_000)
    os.truncate(mine / "big.bin", 90_000)
    (mine / "tail.bin").unlink()
    (host, port), copies = offered.seeding.magnet.peers[0], [str(other)] if source == "copy" else []
    words = [sys.executable, "-c", FULL_DISK, str(mine), host, str(port), *copies]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    kind, code, message, hint = json.loads(done.stdout)
    assert (kind, code) == ("NoSpace", 4), message
    assert "run the same command again" in hint
    left = contents(mine)
    assert left["big.bin"][:32768] == whole["big.bin"][:32768]
    assert left["big.bin"][49152:90_000] == whole["big.bin"][49152:90_000]
    assert changed(mine, before) <= {"big.bin", "tail.bin"}
    pieces = Pieces(offered.torrent)
    suspects = pieces.provable(pieces.touching(["big.bin", "tail.bin"]))
    still_bad = len(find_bad_pieces(pieces, suspects, mine))
    repaired = repair(mine, options=offered.asking())
    assert contents(mine) == whole
    if suspects:
        assert repaired.pieces == still_bad


def test_a_link_of_version_2_brings_no_hashes_and_the_swarm_does(tmp_path: Path, offered: Offer) -> None:
    fetched = fetch(offered.seeding.magnet, tmp_path, options=NEARBY)
    whole = contents(fetched.folder)
    flip_byte(fetched.folder / "big.bin", 200_000)
    repaired = repair(fetched.folder, options=offered.asking())
    assert contents(fetched.folder) == whole
    assert repaired.written == 4096


def test_what_an_unfinished_download_left_out_stays_out(tmp_path: Path, offered: Offer) -> None:
    fetched = fetch(offered.torrent, tmp_path, options=offered.asking(include=("big.bin",)))
    flip_byte(fetched.folder / "big.bin", 200_000)
    repaired = repair(fetched.folder, options=offered.asking())
    assert contents(fetched.folder).keys() == {"big.bin"}
    assert set(repaired.left_out) == SIZES.keys() - {"big.bin"}


def test_a_folder_without_a_torrent_needs_to_be_told_which(tmp_path: Path, offered: Offer) -> None:
    folder = write_release(tmp_path / "rel", SIZES)
    whole = contents(folder)
    flip_byte(folder / "big.bin", 200_000)
    with pytest.raises(UsageError, match="nothing says by which torrent"):
        repair(folder, options=NOBODY)
    repaired = repair(folder, kept=offered.torrent, options=offered.asking())  # the caller knows what it remembered
    assert repaired.written == 4096
    flip_byte(folder / "big.bin", 200_000)
    assert repair(folder, offered.seeding.magnet, options=offered.asking()).written == 4096
    assert contents(folder) == whole
    with pytest.raises(UsageError, match="no such folder"):
        repair(tmp_path / "nowhere", options=NOBODY)


def test_a_mirror_alone_will_do(mine: Path, other: Path, offered: Offer) -> None:
    whole = contents(mine)
    flip_byte(mine / "big.bin", 200_000)
    with mirror_server(contents(other)) as server:
        mirror = ReleaseMirror(f"{server.url}/", named=True)
        repaired = repair(mine, options=replace(NEARBY, mirrors=(mirror,)))
    assert contents(mine) == whole
    assert repaired.downloaded == PIECE


@given(st.binary(max_size=20_000), st.integers(0, 9000), st.lists(st.integers(0, 19_999), max_size=5))
def test_only_blocks_that_differ_are_written(data: bytes, offset: int, flips: list[int]) -> None:
    with tempfile.TemporaryFile() as stream:
        old = bytearray(data)
        for place in flips:
            if place < len(old):
                old[place] ^= 1
        stream.write(bytes(offset) + old)
        stream.flush()
        differing = {(offset + at) // 4096 for at, byte in enumerate(data) if byte != old[at]}
        written = write_different(stream.fileno(), offset, data)
        stream.seek(offset)
        assert stream.read() == data
        assert written <= 4096 * len(differing)
        assert bool(written) == bool(differing)
