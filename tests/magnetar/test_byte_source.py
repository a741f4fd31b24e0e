import ctypes
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.byte_source import Concatenation, LocalFile, new_buffer
from magnetar.errors import DiskError, UsageError


def local(path: Path, content: bytes) -> LocalFile:
    path.write_bytes(content)
    return LocalFile(path)


@given(parts=st.lists(st.binary(max_size=9), max_size=5), data=st.data())
def test_any_range_of_a_concatenation_is_that_range_of_the_joined_bytes(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    files = [local(folder / str(number), part) for number, part in enumerate(parts)]
    joined, whole = b"".join(parts), Concatenation("whole", files)
    begin = data.draw(st.integers(0, len(joined)))
    length = data.draw(st.integers(0, len(joined) - begin))
    expected = joined[begin : begin + length]
    assert whole.size == len(joined)
    assert whole.read(begin, length) == expected
    buffer = bytearray(length)
    whole.read_into(begin, memoryview(buffer))
    assert buffer == expected
    assert b"".join(os.pread(*span[:1], span.length, span.offset) for span in whole.spans(begin, length)) == expected
    for file in files:
        file.close()


def test_reading_past_the_end_says_where_the_file_ends(tmp_path: Path) -> None:
    with (
        local(tmp_path / "short", b"12345") as file,
        pytest.raises(DiskError, match="ends at byte 5, 3 bytes too early"),
    ):
        file.read(2, 6)


def test_reading_past_the_end_of_a_concatenation_is_refused(tmp_path: Path) -> None:
    with local(tmp_path / "a", b"123") as file:
        whole = Concatenation("whole", [file])
        assert not whole.available(2, 2)
        with pytest.raises(DiskError, match="has 3 bytes"):
            whole.read(2, 2)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        LocalFile(tmp_path / "absent")


@pytest.mark.parametrize("size", [1, 5000, 4 << 20])
def test_memory_to_read_into_begins_at_a_page(size: int) -> None:
    buffer = new_buffer(size)
    assert buffer == bytes(size)
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0
