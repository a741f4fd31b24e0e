import json
from pathlib import Path

import pytest

from magnetar.manifests.folder.origin import MAX_ORIGIN_BYTES, Origin, read_origin, record_origin
from tests.manifests.conftest import write


@pytest.mark.parametrize("noted", [b"", b"{}", b"[]", b"[" * 100_000, b'{"name": 1}', b"\xff", b"1" * 5000])
def test_an_unreadable_note_of_origin_is_as_good_as_none(tmp_path: Path, noted: bytes) -> None:
    write(tmp_path, {".magnetar/origin.json": noted})
    assert read_origin(tmp_path) is None


def test_a_note_of_origin_comes_back_as_it_was_written(tmp_path: Path) -> None:
    origin = Origin("näme\x1b", "a" * 40, "", complete=False)
    record_origin(tmp_path, origin)
    assert read_origin(tmp_path) == origin


@pytest.mark.parametrize(("key", "value"), [("name", 1), ("infohash_v1", None), ("infohash_v2", []), ("complete", 1)])
def test_a_note_of_origin_with_one_value_of_a_wrong_type_is_as_good_as_none(
    tmp_path: Path, key: str, value: object
) -> None:
    noted = {"name": "x", "infohash_v1": "a" * 40, "infohash_v2": "", "complete": True} | {key: value}
    write(tmp_path, {".magnetar/origin.json": json.dumps(noted).encode()})
    assert read_origin(tmp_path) is None


def test_a_note_of_origin_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    record_origin(tmp_path, Origin("n" * MAX_ORIGIN_BYTES, "a" * 40, "", complete=True))
    assert read_origin(tmp_path) is None
