import os
import shutil
import time
from pathlib import Path

import pytest

from magnetar.manifests.checking.unfinished_hashes import MAX_NOTE_BYTES, UnfinishedHash, UnfinishedHashes
from magnetar.manifests.checking.verified_index import CACHE_VARIABLE
from tests.settled import LONG_AGO, settle

VALUE = {"digests": ["sha256:aa"], "pieces": "00ff"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files that were not written to for years."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "release").mkdir()
    paths = [tmp_path / "release" / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(b"content")
    settle(paths)
    return paths


def open_note(files: list[Path], subject: str = "pieces") -> UnfinishedHash:
    return UnfinishedHashes(files[0].parent).open(subject, files)


def test_what_one_run_kept_is_there_for_the_next(files: list[Path]) -> None:
    assert open_note(files).value is None
    open_note(files).keep(VALUE)
    assert open_note(files).value == VALUE


def test_a_note_is_about_its_subject_and_its_files_alone(files: list[Path]) -> None:
    open_note(files).keep(VALUE)
    assert open_note(files, "pieces of another length").value is None
    assert open_note(files[:1]).value is None


def test_nothing_is_recalled_once_a_file_changed_or_went_away(files: list[Path]) -> None:
    open_note(files).keep(VALUE)
    os.utime(files[1], (LONG_AGO + 1, LONG_AGO + 1))
    assert open_note(files).value is None
    files[1].unlink()
    assert open_note(files).value is None


def test_nothing_is_kept_of_a_file_that_changed_since_the_note_was_opened(files: list[Path]) -> None:
    note = open_note(files)
    os.utime(files[0], (LONG_AGO + 1, LONG_AGO + 1))
    note.keep(VALUE)
    os.utime(files[0], (LONG_AGO, LONG_AGO))  # as it was when the note was opened
    assert open_note(files).value is None


def test_nothing_is_recalled_of_a_file_that_another_of_the_same_size_and_time_was_copied_over(
    files: list[Path], tmp_path: Path
) -> None:
    open_note(files).keep(VALUE)
    other = tmp_path / "other"
    other.write_bytes(b"CONTENT")
    os.utime(other, (LONG_AGO, LONG_AGO))
    shutil.copy2(other, files[0])
    assert open_note(files).value is None


def test_nothing_is_kept_of_a_file_that_is_not_there(files: list[Path]) -> None:
    files[0].unlink()
    note = open_note(files)
    note.keep(VALUE)
    assert note.value is None
    assert open_note(files).value is None


def test_nothing_is_kept_of_a_file_that_was_written_to_just_before(files: list[Path]) -> None:
    now = time.time()
    os.utime(files[0], (now, now))
    open_note(files).keep(VALUE)
    assert open_note(files).value is None


def test_a_note_with_a_flipped_bit_is_not_believed(files: list[Path], tmp_path: Path) -> None:
    open_note(files).keep(VALUE)
    (path,) = (tmp_path / "cache").rglob("*.json")
    content = bytearray(path.read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert open_note(files).value is None
    path.write_bytes(content)
    assert open_note(files).value == VALUE


def test_a_note_that_is_far_too_large_is_not_read(files: list[Path], tmp_path: Path) -> None:
    open_note(files).keep(VALUE)
    (path,) = (tmp_path / "cache").rglob("*.json")
    with path.open("r+b") as stream:
        stream.truncate(MAX_NOTE_BYTES + 1)
    assert open_note(files).value is None


def test_a_run_that_ends_well_leaves_no_notes(files: list[Path], tmp_path: Path) -> None:
    open_note(files).keep(VALUE)
    UnfinishedHashes(files[0].parent).clear()
    assert open_note(files).value is None
    assert list((tmp_path / "cache").rglob("*.json")) == []


def test_a_cache_that_cannot_be_written_is_no_error(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file in the place of the folder")
    open_note(files).keep(VALUE)
    assert open_note(files).value is None
    UnfinishedHashes(files[0].parent).clear()
