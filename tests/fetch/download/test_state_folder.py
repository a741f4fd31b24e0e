"""What a folder's state says of its files, and until when it is believed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from magnetar.fetch.download.state_folder import STAMPS_FILE, State
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER
from tests.fetch.world import flip_byte, write_release
from tests.settled import settle


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A folder whose files were noted when nothing wrote to them any more."""
    folder = write_release(tmp_path / "tiny", {"weights": 70_000, "params.json": 120})
    settle(folder.rglob("*"))
    state = State(folder, read_torrent(create_torrent(folder, TorrentOptions(piece_length=16384))))
    state.vouch()
    return state


def test_files_that_nobody_touched_are_vouched_for_until_it_is_withdrawn(state: State) -> None:
    assert state.is_vouched()
    state.withdraw()
    assert not state.is_vouched()


def test_another_file_of_the_same_size_and_time_is_seen(state: State, tmp_path: Path) -> None:
    weights = state.folder / "weights"
    before = weights.stat()
    other = Path(shutil.copy2(weights, tmp_path / "other"))
    flip_byte(other, 40_000)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.copy2(other, weights)
    after = weights.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert not state.is_vouched()


@pytest.mark.parametrize("change", ["renamed away and back", "replaced", "linked", "removed"])
def test_a_file_that_was_moved_replaced_or_linked_is_seen(state: State, change: str) -> None:
    weights, other = state.folder / "weights", state.folder.parent / "other"
    if change == "renamed away and back":
        weights.rename(other)
        other.rename(weights)
    elif change == "replaced":
        shutil.copy2(weights, other)
        other.replace(weights)
    elif change == "linked":
        other.hardlink_to(weights)
    else:
        weights.unlink()
    assert not state.is_vouched()


def test_stamps_of_the_format_that_knew_no_ctime_are_not_believed(state: State) -> None:
    old = {}
    for file in state.metadata.files:
        found = (state.folder / file.path).stat()
        old[str(file.path)] = [found.st_size, found.st_mtime_ns, found.st_ino, found.st_nlink]
    (state.folder / STATE_FOLDER / STAMPS_FILE).write_text(json.dumps(old))
    assert not state.is_vouched()
