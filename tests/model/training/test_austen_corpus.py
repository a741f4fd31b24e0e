import gzip
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import MalformedError, UsageError
from magnetar.model.training.austen_corpus import (
    MAX_VALUE_BYTES,
    Novel,
    XdrReader,
    held_out_text,
    read_novels,
    training_text,
)

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=10)


def integers(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}i", *numbers)


def header(version: int = 2) -> bytes:
    return b"X\n" + integers(version, 0x40000, 0x20300) + (integers(5) + b"UTF-8" if version == 3 else b"")


def strings(texts: list[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return integers(16, len(texts)) + b"".join(integers(9, len(text)) + text for text in encoded)


def named_list(values: dict[str, bytes]) -> bytes:
    """R's VECSXP with a pair list of one attribute, ``names``, whose tag is a symbol."""
    names = integers(0x402, 1, 9, 5) + b"names" + strings(list(values)) + integers(254)
    return integers(0x213, len(values)) + b"".join(values.values()) + names


def write_package(folder: Path, texts: dict[str, list[str]]) -> None:
    places, values = {}, b""
    for name, lines in texts.items():
        folded = zlib.compress(header() + strings(lines))
        places[name] = integers(13, 2, len(values), 4 + len(folded))
        values += integers(len(folded)) + folded
    index = header(3) + integers(0x213, 1) + named_list(places)
    # the attributes of the outer list refer to the symbol that the inner one introduced
    index += integers(0x402, (1 << 8) | 255) + strings(["variables"]) + integers(254)
    (folder / "Rdata.rdx").write_bytes(gzip.compress(index))
    (folder / "Rdata.rdb").write_bytes(values)


def test_novels_are_read_by_name_with_their_lines_joined(tmp_path: Path) -> None:
    write_package(tmp_path, {"persuasion": ["Sir Walter", "", "Elliot"], "emma": ["Émma Woodhouse"]})
    assert read_novels(tmp_path) == (Novel("emma", "Émma Woodhouse"), Novel("persuasion", "Sir Walter\n\nElliot"))


@given(LINES)
def test_any_lines_come_back(lines: list[str]) -> None:
    assert XdrReader(header() + strings(lines)).read() == lines


def test_the_last_twentieth_is_held_out_and_nothing_is_lost() -> None:
    novel = Novel("n", "\n".join(f"line {number}" for number in range(1000)))
    training, held_out = novel.split()
    assert training + held_out == novel.text
    assert held_out.startswith("line 9")
    assert 0.04 < len(held_out) / len(novel.text) <= 0.05
    assert not set(held_out.split("\n")) & set(training.split("\n")[:-1])
    assert training_text([novel, novel]).count(training) == 2
    assert held_out_text([novel]) == held_out


def test_a_missing_package_is_said_with_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Rdata\.rdx") as caught:
        read_novels(tmp_path)
    assert "r-cran-janeaustenr" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        b"",
        integers(4) + b"\x78\x9c\x00\x00",
        integers(4) + zlib.compress(header() + strings(["a"]))[:-3],
        integers(4) + zlib.compress(b"\0" * (MAX_VALUE_BYTES + 1)),
        integers(4) + zlib.compress(b"A\n not in XDR form"),
        integers(4) + zlib.compress(header() + integers(19, 1 << 30)),
        integers(4) + zlib.compress(header() + integers(24)),
    ],
    ids=["empty", "no stream", "cut short", "a bomb", "another form", "a list without end", "an unknown kind"],
)
def test_damaged_values_are_refused(values: bytes, tmp_path: Path) -> None:
    write_package(tmp_path, {"emma": ["a"]})
    index = header() + integers(0x213, 1) + named_list({"emma": integers(13, 2, 0, len(values))})
    index += integers(0x402, (1 << 8) | 255) + strings(["variables"]) + integers(254)
    (tmp_path / "Rdata.rdx").write_bytes(zlib.compress(index))
    (tmp_path / "Rdata.rdb").write_bytes(values)
    with pytest.raises(MalformedError):
        read_novels(tmp_path)
