import ctypes
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.byte_source import (
    ByteSource,
    Concatenation,
    FileBacked,
    JoinedFiles,
    LocalFile,
    LocalFolder,
    MemorySource,
    join,
    new_buffer,
    open_all,
    read_bytes,
    read_file,
)
from magnetar.errors import DiskError, UsageError

DESCRIPTORS = Path("/proc/self/fd")


def local(path: Path, content: bytes) -> LocalFile:
    path.write_bytes(content)
    return LocalFile(path)


@given(parts=st.lists(st.binary(max_size=9), max_size=5), in_memory=st.sets(st.integers(0, 4)), data=st.data())
def test_any_range_of_a_concatenation_is_that_range_of_the_joined_bytes(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], in_memory: set[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    sources: list[ByteSource] = [
        MemorySource(str(number), part) if number in in_memory else local(folder / str(number), part)
        for number, part in enumerate(parts)
    ]
    joined, whole = b"".join(parts), join("whole", sources)
    begin = data.draw(st.integers(0, len(joined)))
    length = data.draw(st.integers(0, len(joined) - begin))
    expected = joined[begin : begin + length]
    assert whole.size == len(joined)
    assert read_bytes(whole, begin, length) == expected
    assert isinstance(whole, FileBacked) == all(isinstance(source, LocalFile) for source in sources)
    if isinstance(whole, JoinedFiles):
        spans = whole.spans(begin, length)
        assert b"".join(os.pread(span.descriptor, span.length, span.offset) for span in spans) == expected
    whole.close()


def test_reading_past_the_end_says_where_the_file_ends(tmp_path: Path) -> None:
    with (
        local(tmp_path / "short", b"12345") as file,
        pytest.raises(DiskError, match="ends at byte 5, 3 bytes too early"),
    ):
        read_bytes(file, 2, 6)


@pytest.mark.parametrize(("offset", "length"), [(2, 2), (-1, 1), (4, 1)])
def test_reading_past_the_end_of_a_concatenation_or_of_memory_is_refused(offset: int, length: int) -> None:
    memory = MemorySource("memory", b"123")
    for source in (memory, Concatenation("whole", [memory])):
        with pytest.raises(DiskError, match="has 3 bytes"):
            read_bytes(source, offset, length)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        LocalFile(tmp_path / "absent")


def test_closing_a_concatenation_closes_its_parts(tmp_path: Path) -> None:
    before = sorted(DESCRIPTORS.iterdir())
    whole = join("whole", [local(tmp_path / name, b"x") for name in "ab"])
    whole.close()
    whole.close()
    assert sorted(DESCRIPTORS.iterdir()) == before


@pytest.mark.parametrize("size", [1, 5000, 4 << 20])
def test_memory_to_read_into_begins_at_a_page(size: int) -> None:
    buffer = new_buffer(size)
    assert buffer == bytes(size)
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0


def test_a_folder_lists_its_files_and_opens_them_by_name(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c").write_bytes(b"c")
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").symlink_to("a")
    folder = LocalFolder(tmp_path)
    assert dict(folder.sizes) == {"a": 3, "b": 3}
    assert len(folder.sizes) == 2
    assert read_file(folder, "b") == b"123"
    assert (folder.is_link("a"), folder.is_link("b")) == (False, True)
    assert (folder.name, str(folder)) == (tmp_path.name, str(tmp_path))


@pytest.mark.parametrize("name", ["absent", "inner", "inner/c", "..", "../a", ""])
def test_what_is_no_file_of_the_folder_itself_has_no_size(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "c").write_bytes(b"c")
    (tmp_path / "a").write_bytes(b"123")
    assert name not in LocalFolder(folder).sizes


def test_a_folder_that_is_not_there_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="absent: cannot be listed"):
        list(LocalFolder(tmp_path / "absent").sizes)


def test_where_one_of_several_files_cannot_be_opened_none_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before = sorted(DESCRIPTORS.iterdir())
    with pytest.raises(UsageError) as caught:  # the traceback keeps every local alive
        open_all(LocalFolder(tmp_path), ["a", "absent"])
    assert sorted(DESCRIPTORS.iterdir()) == before
    assert caught.tb
