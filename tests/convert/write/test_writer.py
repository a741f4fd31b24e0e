"""A file that grows past the page cache: the same bytes and digest however they come, direct writes or none."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.byte_source import FileSpan
from magnetar.convert.write import copy_range, writer
from magnetar.convert.write.copy_range import is_direct, open_direct
from magnetar.convert.write.writer import PAGE, Sink, read_prefix


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BUFFER", 2 * PAGE)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = open_direct(tmp_path / "file", os.O_CREAT | os.O_EXCL)
    yield opened
    os.close(opened)


def refuse_direct_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system that takes the flag, and then not the writes."""
    write = os.pwrite

    def refuse(descriptor: int, data: memoryview, offset: int) -> int:
        if is_direct(descriptor):
            raise OSError(errno.EINVAL, "not past the cache")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refuse)


SIZES = st.lists(st.sampled_from((0, 1, 7, 64, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 5 * PAGE + 3)), max_size=6)


@settings(max_examples=60)
@given(sizes=SIZES, settled=st.integers(0, 6), lent=st.booleans())
def test_what_is_appended_is_what_the_file_holds(
    sizes: list[int], settled: int, lent: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sink") / "file"
    content = [os.urandom(size) for size in sizes]
    opened = open_direct(path, os.O_CREAT | os.O_EXCL)
    try:
        with Sink(opened) as growing:
            for number, part in enumerate(content):
                if number == settled:
                    begun = growing.settle()
                    whole = b"".join(content[:number])
                    assert (begun.size, begun.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
                    assert path.read_bytes()[: len(whole)] == whole
                rest = memoryview(part)
                while lent and rest:
                    room = growing.lend(len(rest))
                    room[:] = rest[: len(room)]
                    rest = rest[len(room) :]
                    growing.append(room)
                growing.append(rest)
            written = growing.finish()
    finally:
        os.close(opened)
    whole = b"".join(content)
    assert path.read_bytes() == whole
    assert (written.size, written.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


@pytest.mark.parametrize("size", [0, 5, PAGE, 3 * PAGE + 17])
def test_a_file_goes_on_behind_its_beginning(size: int, tmp_path: Path) -> None:
    content = os.urandom(20_000)
    path = tmp_path / "file"
    path.write_bytes(content[:size] + os.urandom(9000))  # what is behind is of no account
    read: list[int] = []
    prefix = read_prefix(path, size, read.append)
    assert sum(read) == size
    opened = open_direct(path, 0)
    try:
        with Sink(opened, prefix) as growing:
            assert growing.size == size
            growing.append(content[size:])
            assert growing.finish().sha256 == hashlib.sha256(content).hexdigest()
    finally:
        os.close(opened)
    assert path.read_bytes() == content


def test_where_direct_writes_fail_after_all_the_cache_is_used(
    descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_direct_writes(monkeypatch)
    content = os.urandom(30_001)
    with Sink(descriptor) as growing:
        growing.append(content)
        growing.finish()
    assert not is_direct(descriptor)
    assert (tmp_path / "file").read_bytes() == content


def test_a_file_system_without_direct_writes_is_written_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no such flag here")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    opened = open_direct(tmp_path / "file", os.O_CREAT | os.O_EXCL)
    (tmp_path / "other").write_bytes(bytes(range(256)))
    other = os.open(tmp_path / "other", os.O_RDONLY)
    with Sink(opened, digested=False) as growing:
        assert not growing.direct
        growing.append(b"head")
        growing.copy(FileSpan(other, 10, 100))
        growing.append(b"tail")
        assert growing.finish().sha256 == ""
    os.close(opened)
    os.close(other)
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(range(10, 110)) + b"tail"


def test_an_error_of_the_disk_comes_out_of_the_thread_that_met_it(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(copy_range.os, "pwrite", fail)
    with Sink(descriptor) as growing, pytest.raises(OSError, match="broken"):
        growing.append(bytes(100_000))
