"""Files read past the page cache: the same bytes as any other way, and the cache as it was."""

import ctypes
import mmap
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.byte_source import LocalFile, read_bytes
from magnetar.convert.read import uncached_file
from magnetar.convert.read.uncached_file import MIN_DIRECT_BYTES, PAGE, SparingFile, UncachedFile, find_address
from magnetar.errors import DiskError

SIZE = 75 * PAGE + 9
IN_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture(scope="module")
def path(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uncached") / "file"
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def small_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncached_file, "WINDOW", 4 * PAGE)
    monkeypatch.setattr(uncached_file, "STRETCH", 16 * PAGE)
    monkeypatch.setattr(uncached_file, "MIN_DIRECT_BYTES", PAGE)
    monkeypatch.delattr(UncachedFile._own, "memory", raising=False)


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read past the cache was asked for."""
    counts: list[int] = []
    read_into = UncachedFile.read_into

    def note(opened: UncachedFile, offset: int, buffer: memoryview) -> None:
        counts.append(len(buffer))
        read_into(opened, offset, buffer)

    monkeypatch.setattr(UncachedFile, "read_into", note)
    return counts


def forget(path: Path) -> None:
    """Ask the kernel to take a file out of the page cache."""
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def count_cached_pages(path: Path) -> int:
    """How many pages of a file the page cache holds (mincore(2)). Asking changes nothing."""
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        answer = (ctypes.c_ubyte * -(-len(mapped) // PAGE))()
        view = memoryview(mapped)
        found = ctypes.CDLL(None).mincore(ctypes.c_void_p(find_address(view)), ctypes.c_size_t(len(mapped)), answer)
        view.release()
    assert found == 0
    return sum(page & 1 for page in answer)


def needs_to_forget(path: Path) -> None:
    """Take a file out of the page cache, or skip the test where that cannot be done."""
    for _ in range(20):
        forget(path)
        if not count_cached_pages(path):
            return
        time.sleep(0.05)
    pytest.skip("needs a file system whose cached pages can be dropped: put the temporary folder on a disk (TMPDIR)")


def bytes_from_disk() -> int:
    """How many bytes this thread has had read from a disk."""
    found = re.search(r"^read_bytes: (\d+)$", Path("/proc/thread-self/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def needs_direct_reads(path: Path) -> None:
    """Skip the test where there are no direct reads."""
    with UncachedFile(path) as opened:
        if not opened.direct:
            pytest.skip("needs a file system with direct reads: put the temporary folder on a disk (TMPDIR)")


def needs_counted_reads(path: Path) -> None:
    """Skip the test where a direct read is not counted as one from a disk, as on a file system in memory."""
    needs_direct_reads(path)
    if not os.access("/proc/thread-self/io", os.R_OK):
        pytest.skip("needs the kernel's count of bytes read, /proc/thread-self/io: run the tests outside of a sandbox")
    before = bytes_from_disk()
    with UncachedFile(path) as opened:
        read_bytes(opened, 0, SIZE)
    if bytes_from_disk() - before < SIZE - PAGE:
        pytest.skip("needs a file system whose reads are counted: put the temporary folder on a disk (TMPDIR)")


def room(length: int, lies: int) -> memoryview:
    """Memory that begins ``lies`` bytes into a page."""
    return memoryview(mmap.mmap(-1, length + 2 * PAGE))[lies % PAGE :][:length]


@pytest.mark.parametrize("kind", [UncachedFile, SparingFile])
@pytest.mark.parametrize("known", [True, False])
@settings(max_examples=60)
@given(offset=st.integers(0, SIZE), length=st.integers(0, SIZE), aligned=st.booleans())
def test_every_range_reads_as_from_any_other_file(
    kind: type[LocalFile], known: bool, offset: int, length: int, aligned: bool, path: Path, content: bytes
) -> None:
    length = min(length, SIZE - offset)
    if not known:
        forget(path)
    buffer = room(length, offset if aligned else offset + 1)
    with kind(path) as opened:
        opened.read_into(offset, buffer)
    assert bytes(buffer) == content[offset : offset + length]


def test_what_lies_in_memory_as_on_the_disk_is_read_there_without_a_copy(
    path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_direct_reads(path)
    monkeypatch.delattr(UncachedFile, "_copy")
    buffer = room(SIZE - 100, 100)
    assert (find_address(buffer) - 100) % PAGE == 0
    with UncachedFile(path) as opened:
        opened.read_into(100, buffer)
    assert bytes(buffer) == content[100:]


def test_a_file_that_is_not_in_the_cache_is_read_from_the_disk_past_the_cache(
    path: Path, content: bytes, past: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_counted_reads(path)
    past.clear()
    monkeypatch.setattr(uncached_file, "STRETCH", SIZE + 1)  # one question, or the kernel may read ahead of the first
    needs_to_forget(path)
    before = bytes_from_disk()
    with SparingFile(path) as opened:
        assert read_bytes(opened, 0, SIZE) == content
    assert sum(past) == SIZE
    assert bytes_from_disk() - before > 0.9 * SIZE


def test_a_file_that_is_in_the_cache_is_read_from_there(path: Path) -> None:
    needs_counted_reads(path)
    path.read_bytes()
    with SparingFile(path) as opened:
        read_bytes(opened, 0, SIZE)  # so that the code is in memory too
    if count_cached_pages(path) < SIZE // PAGE:
        pytest.skip("needs free memory for the page cache: end other programs")
    before = bytes_from_disk()
    with SparingFile(path) as opened:
        read_bytes(opened, 0, SIZE)
    assert bytes_from_disk() - before <= PAGE  # by which it is found out whether there are direct reads


def test_of_a_file_that_is_half_in_the_cache_the_other_half_is_read_past_it(
    path: Path, content: bytes, past: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_direct_reads(path)
    monkeypatch.setattr(uncached_file, "STRETCH", 32 * PAGE)
    needs_to_forget(path)
    with LocalFile(path) as opened:
        os.posix_fadvise(opened._descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
        read_bytes(opened, 0, 32 * PAGE)
    if count_cached_pages(path) != 32:
        pytest.skip("needs a page cache that keeps what was read, and no more: end other programs")
    with SparingFile(path) as opened:
        assert read_bytes(opened, 0, SIZE) == content
    assert 32 * PAGE <= sum(past) <= SIZE - 32 * PAGE  # the kernel may read ahead of the question that comes first


@pytest.mark.parametrize("missing", ["O_DIRECT", "RWF_NOWAIT"])
def test_a_platform_without_such_reads_uses_the_cache(
    missing: str, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, missing)
    forget(path)
    for kind in (UncachedFile, SparingFile):
        with kind(path) as opened:
            assert read_bytes(opened, 5, SIZE - 5) == content[5:]


def test_a_file_system_without_such_reads_is_read_all_the_same(path: Path, content: bytes) -> None:
    if not IN_MEMORY.is_dir():
        pytest.skip("needs a file system in memory: mount -t tmpfs tmpfs /dev/shm")
    there = IN_MEMORY / f"magnetar-test-{os.getpid()}"
    try:
        there.write_bytes(content)
        for kind in (UncachedFile, SparingFile):
            with kind(there) as opened:
                assert read_bytes(opened, 5, SIZE - 5) == content[5:]
    finally:
        there.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", [UncachedFile, SparingFile])
@pytest.mark.parametrize("aligned", [True, False])
def test_a_file_that_was_cut_in_the_meantime_is_told_with_where_it_ends(
    kind: type[LocalFile], aligned: bool, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with kind(path) as opened:
        os.truncate(path, 20 * PAGE + 5)
        forget(path)
        for offset in (3, 20 * PAGE + 1, 30 * PAGE):
            with pytest.raises(DiskError, match="bytes too early"):
                opened.read_into(offset, room(SIZE - offset, offset if aligned else offset + 1))


def test_a_file_that_came_to_the_path_in_the_meantime_is_not_read(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(content)
    other.write_bytes(bytes(SIZE))
    forget(path)
    monkeypatch.setattr(uncached_file, "UncachedFile", lambda _path: UncachedFile(other))
    with SparingFile(path) as opened:
        assert read_bytes(opened, 0, SIZE) == content


def test_an_error_of_the_disk_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_direct_reads(path)
    with UncachedFile(path) as opened:
        os.close(opened._descriptor)
        with pytest.raises(DiskError, match="file: cannot be read at byte 0"):
            opened.read_into(7, room(MIN_DIRECT_BYTES, 7))
        opened._descriptor = -1


def test_both_ways_into_a_file_are_closed(path: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        with SparingFile(path) as opened:
            read_bytes(opened, 0, SIZE)
    SparingFile(path)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_files_share_a_window_and_do_not_mistake_it_for_their_own(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 5000)
    with UncachedFile(tmp_path / "a") as one, UncachedFile(tmp_path / "b") as other:
        for start in (0, 10, 4990):
            assert (read_bytes(one, start, 10), read_bytes(other, start, 10)) == (b"a" * 10, b"b" * 10)
