import json
import os
import shutil
import time
from datetime import date
from pathlib import Path

import pytest

from magnetar.files import COARSE_TICK_NS
from magnetar.manifests.checking.verified_index import CACHE_VARIABLE, VerifiedIndex
from tests.settled import LONG_AGO, settle

PROOFS = ("sha256:aa", "md5:bb")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path, cache: Path) -> Path:
    """A file that was not written to for years, in a folder of its own."""
    path = tmp_path / "release" / "weights"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    settle([path])
    return path


def note(file: Path, proofs: tuple[str, ...] = PROOFS) -> None:
    index = VerifiedIndex(file.parent)
    index.note(file.name, file.stat(), proofs)
    index.save()


def recall(file: Path, proofs: tuple[str, ...] = PROOFS) -> date | None:
    return VerifiedIndex(file.parent).recall(file.name, file.stat(), proofs)


def test_what_was_found_good_is_recalled_by_the_next_run_with_its_day(file: Path) -> None:
    assert recall(file) is None
    note(file)
    assert recall(file) == date.today()


def test_a_file_is_good_only_by_the_proofs_that_it_passed(file: Path) -> None:
    note(file)
    assert recall(file, PROOFS[:1]) == date.today()
    assert recall(file, (*PROOFS, "blake3:cc")) is None
    assert recall(file, ()) is None


def test_a_file_that_was_proven_by_nothing_is_not_noted(file: Path) -> None:
    note(file)
    note(file, ())
    assert recall(file) is None


def test_a_file_of_another_size_time_or_inode_is_read_again(file: Path) -> None:
    for change in ("size", "time", "inode"):
        settle([file])
        note(file)
        assert recall(file) == date.today()
        if change == "size":
            file.write_bytes(b"longer weights")
            os.utime(file, (LONG_AGO, LONG_AGO))
        elif change == "time":
            os.utime(file, (LONG_AGO + 1, LONG_AGO + 1))
        else:
            other = file.with_name("other")
            other.write_bytes(file.read_bytes())
            os.utime(other, ns=(file.stat().st_mtime_ns, file.stat().st_mtime_ns))
            other.replace(file)
        assert recall(file) is None, change


def test_another_file_of_the_same_size_and_time_in_its_place_is_seen(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"we1ghts")
    os.utime(other, (LONG_AGO, LONG_AGO))
    note(file)
    before = file.stat()
    shutil.copy2(other, file)  # as cp -p does
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert recall(file) is None


def test_a_file_that_was_renamed_away_and_back_or_made_writable_is_read_again(file: Path) -> None:
    elsewhere = file.with_name("elsewhere")

    def rename() -> None:
        file.rename(elsewhere)
        elsewhere.rename(file)

    def link() -> None:
        elsewhere.hardlink_to(file)
        elsewhere.unlink()

    for change in (rename, link, lambda: file.chmod(0o600)):
        settle([file])
        note(file)
        assert recall(file) == date.today()
        change()
        assert recall(file) is None


def test_a_file_whose_last_change_is_too_fresh_for_the_next_to_show_is_not_noted(file: Path) -> None:
    index = VerifiedIndex(file.parent)
    file.chmod(0o600)  # after the index was made: mtime is old, and ctime is not
    index.note(file.name, file.stat(), PROOFS)
    assert index.recall(file.name, file.stat(), PROOFS) is None


def test_notes_of_the_format_that_knew_no_ctime_are_not_believed(file: Path, cache: Path) -> None:
    note(file)
    (index,) = cache.rglob("*.json")
    found = file.stat()
    entry = [found.st_size, found.st_mtime_ns, found.st_ino, date.today().isoformat(), list(PROOFS)]
    for version in (1, 2):
        index.write_text(json.dumps({"format": version, "files": {file.name: entry}}))
        assert recall(file) is None


def test_a_file_that_changed_just_before_or_after_the_index_was_opened_is_not_noted(file: Path) -> None:
    for moment in (time.time_ns() - COARSE_TICK_NS // 2, time.time_ns() + 3600 * 10**9):
        index = VerifiedIndex(file.parent)
        os.utime(file, ns=(moment, moment))
        index.note(file.name, file.stat(), PROOFS)
        assert index.recall(file.name, file.stat(), PROOFS) is None


def test_a_file_that_is_not_good_any_more_is_forgotten(file: Path) -> None:
    note(file)
    index = VerifiedIndex(file.parent)
    index.forget(file.name)
    index.save()
    assert recall(file) is None


def test_the_same_path_in_another_folder_is_another_file(file: Path, tmp_path: Path) -> None:
    note(file)
    assert VerifiedIndex(tmp_path / "elsewhere").recall(file.name, file.stat(), PROOFS) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format": 3, "files": {}}', b'{"format": 2, "files": []}'],
)
def test_an_index_that_is_not_understood_is_as_good_as_none(file: Path, cache: Path, content: bytes) -> None:
    note(file)
    (index,) = cache.rglob("*.json")
    index.write_bytes(content)
    assert recall(file) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "7"),
        (0, []),
        (0, [1, 2, 3, 4]),
        (0, [1, 2, 3, 4, True]),
        (0, [1, 2, 3, 4, None]),
        (0, [1, 2, 3, 4, 5.0]),
        (0, [1, 2, 3, 4, 5, 6]),
        (1, "some day"),
        (1, 5),
        (2, "sha256:aa"),
        (2, [1]),
        (None, []),
    ],
)
def test_an_entry_that_is_not_understood_is_left_out_and_the_others_are_kept(
    file: Path, cache: Path, place: int | None, value: object
) -> None:
    note(file)
    (path,) = cache.rglob("*.json")
    document = json.loads(path.read_bytes())
    broken = list(document["files"][file.name])
    document["files"]["broken"] = value if place is None else [*broken[:place], value, *broken[place + 1 :]]
    path.write_text(json.dumps(document))
    assert recall(file) == date.today()
    assert VerifiedIndex(file.parent).recall("broken", file.stat(), PROOFS) is None


def test_a_cache_that_cannot_be_written_is_no_error(file: Path, cache: Path) -> None:
    cache.write_bytes(b"a file in the place of the folder")
    note(file)
    assert recall(file) is None
