"""Publishing that was stopped, and begun once more: what was hashed is not read again, unless it changed."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fetch.world import contents, flip_byte, write_release
from tests.magnetar.conftest import Run
from tests.settled import settle

FILES = {f"{number}.bin": 60_000 + number for number in range(12)} | {"sub/empty": 0}
OLD = 1_700_000_000


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where what was hashed is noted."""
    monkeypatch.setenv("MAGNETAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unfinished"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return aged(write_release(tmp_path / "data", FILES))


def aged(folder: Path) -> Path:
    """A folder to which nobody wrote just now."""
    settle(folder.rglob("*"), OLD)
    return folder


def stop(folder: Path, version: str = "hybrid", how: str = "SIGKILL", at: int = 8, *more: str) -> int:
    """Begin to publish, and be stopped; the exit code."""
    words = [
        sys.executable,
        "-m",
        "tests.magnetar.pipeline.interrupted_publish",
        str(folder),
        version,
        how,
        str(at),
        *more,
    ]
    return subprocess.run(words, check=False, capture_output=True).returncode


def publish(magnetar: Run, folder: Path, *words: str) -> list[str]:
    """Publish; the files that were not read."""
    shown = magnetar("publish", folder, "--no-tensors", "--json", *words)
    assert shown.code == 0, shown.err
    recalled: list[str] = shown.document["result"]["recalled"]
    return recalled


def in_one_go(magnetar: Run, folder: Path, tmp_path: Path, *words: str) -> dict[str, bytes]:
    """What publishing writes of such a folder that was never stopped."""
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere" / folder.name))
    shutil.rmtree(copy / ".magnetar", ignore_errors=True)
    assert magnetar("publish", copy, *words).code == 0
    return contents(copy.with_name(f"{copy.name}.magnetar"))


@pytest.mark.parametrize(("version", "how"), [("hybrid", "SIGKILL"), ("v2", "SIGINT"), ("v1", "SIGKILL")])
def test_what_a_run_that_was_stopped_hashed_is_not_read_again_and_gives_the_same_bytes(
    magnetar: Run, folder: Path, tmp_path: Path, notes: Path, version: str, how: str
) -> None:
    assert stop(folder, version, how) != 0
    assert not (tmp_path / "data.magnetar").exists()
    shown = magnetar("publish", folder, "--no-tensors", "--torrent-version", version, "--progress", "plain")
    assert shown.code == 0, shown.err
    said = re.search(
        r"(\d+) of 13 files hashed by a run that was stopped, unchanged since .* not read again", shown.out
    )
    assert said is not None
    assert int(said[1]) >= 7  # Ctrl-C is heard a moment later than kill -9
    assert "are done already" in shown.err
    whole = in_one_go(magnetar, folder, tmp_path, "--no-tensors", "--torrent-version", version)
    assert contents(tmp_path / "data.magnetar") == whole
    assert not list(notes.iterdir())  # done is done: nothing is remembered
    assert publish(magnetar, folder, "--torrent-version", version) == []


def test_only_files_that_did_not_change_are_recalled(magnetar: Run, folder: Path, tmp_path: Path) -> None:
    stop(folder, at=12)
    flip_byte(folder / "1.bin", 500)
    flip_byte(folder / "2.bin", 500)
    os.utime(folder / "2.bin", (OLD + 1, OLD + 1))
    (folder / "3.bin").rename(folder / "x")
    shutil.copyfile(folder / "x", folder / "3.bin")  # the same bytes, in another file
    os.utime(folder / "3.bin", (OLD, OLD))
    (folder / "x").unlink()
    recalled = publish(magnetar, folder)
    assert not {"1.bin", "2.bin", "3.bin"}.intersection(recalled)
    assert len(recalled) == 8  # of the eleven before the one in hand
    assert contents(tmp_path / "data.magnetar") == in_one_go(magnetar, folder, tmp_path, "--no-tensors")


def test_hashes_of_other_pieces_or_of_another_version_are_of_no_use(magnetar: Run, folder: Path) -> None:
    stop(folder)
    assert publish(magnetar, folder, "--piece-length", "32k") == []
    stop(folder)
    assert publish(magnetar, folder, "--torrent-version", "v2") == []
    stop(folder, "v1")
    (folder / "0.bin").write_bytes(b"longer than it was" * 10_000)  # every file after it begins elsewhere in a piece
    aged(folder)
    assert publish(magnetar, folder, "--torrent-version", "v1") == []


def test_what_was_written_to_just_before_is_not_noted(magnetar: Run, folder: Path) -> None:
    soon = time.time() + 3600  # later than the run begins, however long its start takes
    for path in folder.rglob("*.bin"):
        os.utime(path, (soon, soon))
    stop(folder)
    assert publish(magnetar, folder) == []


def test_notes_that_were_damaged_are_not_believed(magnetar: Run, folder: Path, notes: Path, tmp_path: Path) -> None:
    stop(folder, at=12)
    found = sorted(notes.rglob("*.json"))
    assert len(found) == 11
    for number, path in enumerate(found):
        if number % 4 == 0:
            flip_byte(path, path.stat().st_size - 40)
        elif number % 4 == 1:
            path.write_bytes(b"")
        elif number % 4 == 2:
            path.write_bytes(path.read_bytes()[:-10])
        else:
            path.unlink()
            path.mkdir()
    assert publish(magnetar, folder) == []
    assert contents(tmp_path / "data.magnetar") == in_one_go(magnetar, folder, tmp_path, "--no-tensors")


def test_a_cache_that_cannot_be_written_is_no_error(magnetar: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert publish(magnetar, folder) == []


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_tensors_that_were_digested_are_not_read_again(magnetar: Run, release: Path, tmp_path: Path, how: str) -> None:
    aged(release)
    assert stop(release, "hybrid", how, 60, "tensors") != 0
    shown = magnetar("publish", release, "--json")
    assert shown.code == 0, shown.err
    assert 50 <= shown.document["result"]["recalled_tensors"] < 127
    assert contents(tmp_path / "austen-moe.magnetar") == in_one_go(magnetar, release, tmp_path)
    assert magnetar("publish", release, "--json").document["result"]["recalled_tensors"] == 0
