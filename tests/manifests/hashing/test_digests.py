import hashlib
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import DiskError, MalformedError
from magnetar.manifests.hashing.digests import (
    CHUNK_BYTES,
    HEX_LENGTHS,
    Digest,
    digest_file,
    digest_files,
    fills_cores,
    new_hasher,
)


@given(st.sampled_from(sorted(HEX_LENGTHS)), st.binary(max_size=50))
def test_a_digest_comes_back_from_its_text(algorithm: str, data: bytes) -> None:
    hasher = new_hasher(algorithm)
    hasher.update(memoryview(data))
    digest = Digest(algorithm, hasher.hexdigest())
    assert Digest.parse(str(digest)) == digest
    assert digest.weak == (algorithm in ("md5", "sha1"))


@given(st.text(max_size=80))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Digest.parse(text)


@pytest.mark.parametrize("cores_are_full", [False, True], ids=["side by side", "the cores being full"])
@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5])
def test_one_read_gives_every_digest(tmp_path: Path, size: int, cores_are_full: bool) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    seen: list[int] = []
    digests = digest_file(
        tmp_path / "file", ["sha256", "md5", "blake3", "sha1"], seen.append, cores_are_full=cores_are_full
    )
    expected = [hashlib.new(name, content[:size]).hexdigest() for name in ("sha256", "md5", "sha1")]
    assert [digest.hex for digest in digests] == [*expected[:2], blake3(content[:size]).hexdigest(), expected[2]]
    assert sum(seen) == size


def test_a_file_that_cannot_be_read_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        digest_file(tmp_path, ["sha256"], lambda _count: None)


def test_files_fill_the_cores_if_none_of_them_outlasts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert fills_cores([10, 10, 10, 10])
    assert not fills_cores([10, 10, 10])
    assert not fills_cores([100, 10, 10, 10, 10])
    assert fills_cores([])


@pytest.mark.parametrize("side_by_side", [True, False])
def test_what_a_consumer_raises_is_raised_by_the_reading(tmp_path: Path, side_by_side: bool) -> None:
    class Broken:
        def update(self, _data: memoryview) -> None:
            raise MalformedError("no more")

    (tmp_path / "file").write_bytes(bytes(3 * CHUNK_BYTES))
    with pytest.raises(MalformedError, match="no more"):
        digest_file(tmp_path / "file", ["sha256"], lambda _count: None, [Broken()], cores_are_full=not side_by_side)


def test_a_file_that_went_away_is_an_error_of_the_disk_among_many_too(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"1")
    with pytest.raises(DiskError, match="gone"):
        digest_files(tmp_path, ["here", "gone"], ["sha256"], lambda _count: None)


def test_a_disk_that_refuses_is_named_by_the_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError) as caught:
        digest_file(tmp_path / "absent", ["sha256"], lambda _count: None)
    assert caught.value.path == tmp_path / "absent"


@pytest.mark.parametrize("cores_are_full", [False, True], ids=["in parallel", "the cores being full"])
def test_every_consumer_gets_every_byte_in_order(tmp_path: Path, cores_are_full: bool) -> None:
    class Collector:
        def __init__(self) -> None:
            self.content = b""

        def update(self, data: memoryview) -> None:
            self.content += bytes(data)

    content = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end"
    (tmp_path / "file").write_bytes(content)
    collectors = [Collector() for _ in range(3)]
    digest_file(tmp_path / "file", ["sha256"], lambda _count: None, collectors, cores_are_full=cores_are_full)
    assert all(collector.content == content for collector in collectors)
