import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from magnetar.events import Began, Event, Moved, Resumed
from magnetar.fetch.download.check_on_disk import check_pieces
from magnetar.fetch.download.fetch import Fetched, fetch
from magnetar.fetch.download.state_folder import RESUME_FILE, STAMPS_FILE, State, read_kept_torrent
from magnetar.fetch.link.magnet import parse_magnet
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER
from tests.fetch.world import NEARBY, SIZES, contents, serve, write_release
from tests.patience import PATIENCE, wait_until

ROOT = Path(__file__).parents[3]
TOTAL = sum(SIZES.values())
PIECE = 32768
BIG = "consolidated.00.pth"


def start(seeding: Seeding, parent: Path, rate: int, *more: str) -> subprocess.Popen[str]:
    """A fetch in a process of its own, ``rate`` bytes a second at most."""
    command = [
        sys.executable,
        "-m",
        "tests.fetch.download.interrupted_fetch",
        str(seeding.magnet),
        str(parent),
        str(rate),
        *more,
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def good_bytes(process: subprocess.Popen[str]) -> Iterator[int]:
    """What the process prints, as it prints it."""
    assert process.stdout is not None
    for line in process.stdout:
        yield int(line)


def wait_for(process: subprocess.Popen[str], wanted: int) -> int:
    return next(good for good in good_bytes(process) if good >= wanted)


@pytest.fixture
def fetched(tmp_path: Path, published: Seeding) -> Fetched:
    return fetch(published.magnet, tmp_path / "new", options=NEARBY)


def refetch(fetched: Fetched, seeding: Seeding) -> Fetched:
    return fetch(seeding.magnet, fetched.folder.parent, options=NEARBY)


def test_after_kill_9_nothing_that_was_on_disk_is_fetched_again(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    folder = tmp_path / "mixtral-tiny"
    with start(published, tmp_path, 300_000) as process:
        good = wait_for(process, 200_000)
        wait_until(lambda: _count_on_disk(folder) >= good, "the writing of what was hashed in memory")
        process.kill()
    events: list[Event] = []
    again = fetch(published.magnet, tmp_path, options=NEARBY, emit=events.append)
    assert contents(again.folder) == payload
    assert again.downloaded <= 1.1 * TOTAL - good
    assert [event.step for event in events if isinstance(event, Began)] == ["check", "download"]
    assert any(isinstance(event, Resumed) for event in events)


def test_eight_kills_at_any_moment_lose_nothing_and_leave_nothing_wrong(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    moments = random.Random(11)
    folder = tmp_path / "mixtral-tiny"
    before = 0
    for attempt in range(8):
        with start(published, tmp_path, 100_000) as process:  # slow, so that no machine is done before the last kill
            wait_for(process, attempt % 2)  # before anything is done, or once payload moves
            time.sleep(moments.uniform(0, 0.4))
            process.kill()
        good = _count_on_disk(folder)
        assert good >= before
        before = good
    assert 0 < before < TOTAL  # the kills fell while there was something to do
    again = fetch(published.magnet, tmp_path, options=NEARBY)
    assert contents(again.folder) == payload
    assert again.downloaded <= 1.1 * TOTAL - before
    assert fetch(published.magnet, tmp_path, options=NEARBY).downloaded == 0


@pytest.mark.parametrize("damage", ["none", "flipped", "truncated"])
def test_after_ctrl_c_the_account_is_believed_only_as_far_as_the_files_agree(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes], damage: str
) -> None:
    with start(published, tmp_path, 600_000) as process:
        good = wait_for(process, 400_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    folder = tmp_path / "mixtral-tiny"
    assert (folder / STATE_FOLDER / STAMPS_FILE).exists()
    _hurt(folder / BIG, damage)
    events: list[Event] = []
    again = fetch(published.magnet, tmp_path, options=NEARBY, emit=events.append)
    assert contents(again.folder) == payload
    order = [event.step for event in events if isinstance(event, Began)]
    assert order == (["download", "check"] if damage == "none" else ["check", "download"])
    if damage != "truncated":
        assert again.downloaded <= 1.1 * TOTAL - good + 2 * PIECE
    assert not (folder / STATE_FOLDER / STAMPS_FILE).exists()


def test_damage_that_left_no_stamp_is_found_before_the_release_is_called_complete(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    with start(published, tmp_path, 600_000) as process:
        wait_for(process, 400_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    folder = tmp_path / "mixtral-tiny"
    path = folder / BIG
    path.write_bytes(bytes(path.stat().st_size))  # every piece that the account claims is now wrong
    State(folder, read_torrent(read_kept_torrent(folder))).vouch()  # and no stamp says so, as where a disk went bad
    assert contents(fetch(published.magnet, tmp_path, options=NEARBY).folder) == payload


def test_a_flipped_byte_costs_one_piece(fetched: Fetched, published: Seeding, payload: dict[str, bytes]) -> None:
    _hurt(fetched.folder / BIG, "flipped")
    again = refetch(fetched, published)
    assert contents(again.folder) == payload
    assert 0 < again.downloaded <= PIECE


def test_a_truncated_file_is_not_claimed(fetched: Fetched, published: Seeding, payload: dict[str, bytes]) -> None:
    _hurt(fetched.folder / BIG, "truncated")
    again = refetch(fetched, published)
    assert contents(again.folder) == payload
    assert again.downloaded >= SIZES[BIG] // 2


@pytest.mark.parametrize("count", [7, 8, 9])
def test_resume_data_that_claims_all_of_a_truncated_file_is_not_believed(tmp_path: Path, count: int) -> None:
    """Read back by libtorrent, a list of pieces is padded to a multiple of eight: whether it is one must not matter."""
    from magnetar.fetch.request.options import Network
    from magnetar.fetch.swarm.libtorrent_session import open_swarm
    from magnetar.fetch.swarm.protocol import Joining
    from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
    from magnetar.fetch.torrent.metadata import magnet_of

    folder = write_release(tmp_path / "r", {"a": count * 16384})
    torrent = create_torrent(folder, TorrentOptions(piece_length=16384))
    resume = check_pieces(folder, torrent).resume
    os.truncate(folder / "a", count * 16384 // 2)
    with open_swarm(Network(offline=True)) as swarm:
        magnet = magnet_of(read_torrent(torrent))
        transfer = swarm.join(Joining(folder, magnet, torrent, resume, trusted=True, check_only=True))
        while (status := transfer.status()).phase == "checking":
            swarm.wait(0.1)
    assert status.done < status.total


def test_missing_longer_and_unexpected_files_are_put_right_or_left(
    fetched: Fetched, published: Seeding, payload: dict[str, bytes]
) -> None:
    (fetched.folder / "params.json").unlink()
    (fetched.folder / "empty").unlink()
    with (fetched.folder / "RELEASE").open("ab") as stream:
        stream.write(b"more")
    (fetched.folder / "notes.txt").write_text("mine")
    again = refetch(fetched, published)
    assert contents(again.folder) == payload | {"notes.txt": b"mine"}


def test_damaged_state_is_only_a_reason_to_check(
    fetched: Fetched, published: Seeding, payload: dict[str, bytes]
) -> None:
    state = fetched.folder / STATE_FOLDER
    for name in (RESUME_FILE, STAMPS_FILE, "release.torrent"):
        (state / name).write_bytes(b"\xff{[garbage")
        _hurt(fetched.folder / BIG, "flipped")
        assert contents(refetch(fetched, published).folder) == payload


def test_a_folder_whose_state_was_removed_is_adopted_where_it_is(
    fetched: Fetched, published: Seeding, payload: dict[str, bytes]
) -> None:
    for path in (fetched.folder / STATE_FOLDER).iterdir():
        path.unlink()
    again = refetch(fetched, published)
    assert (contents(again.folder), again.downloaded) == (payload, 0)


def test_a_seeder_that_vanishes_and_returns_is_no_reason_to_begin_again(tmp_path: Path, release: Path) -> None:
    with serve(release) as seeding, start(seeding, tmp_path / "new", 600_000) as process:
        good = wait_for(process, 400_000)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    with serve(release) as seeding:
        moved: list[Event] = []
        again = fetch(parse_magnet(str(seeding.magnet)), tmp_path / "new", options=NEARBY, emit=moved.append)
    assert contents(again.folder) == contents(release)
    assert sum(e.amount for e in moved if isinstance(e, Moved) and e.step == "download") <= TOTAL - good


def _count_on_disk(folder: Path) -> int:
    """How many bytes of the release are on the disk, by its torrent."""
    torrent = read_kept_torrent(folder)
    return check_pieces(folder, torrent).done if torrent else 0


def _hurt(path: Path, how: str) -> None:
    if how == "flipped":
        with path.open("r+b") as stream:
            stream.seek(100)
            byte = stream.read(1)[0]
            stream.seek(100)
            stream.write(bytes([byte ^ 0x40]))
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
