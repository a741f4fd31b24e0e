"""The six novels of Jane Austen, read out of the data of the R package ``janeaustenr`` without R.

Debian ships it as ``r-cran-janeaustenr``; its folder ``data`` holds ``Rdata.rdx`` (an index: for each
name an offset and a length) and ``Rdata.rdb`` (the values: 4 bytes of size, then a zlib stream).
Decompressed, both are R's XDR serialisation, described in "R Internals", section 1.8.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magnetar.errors import MalformedError, UsageError

MAX_VALUE_BYTES = 16 << 20
"""Limit of one decompressed value. Emma, one of the longest of the novels, has 1.1 MB."""

HELD_OUT_SHARE = 0.05
BETWEEN_NOVELS = "\n\n\n"


@dataclass(frozen=True, slots=True)
class Novel:
    """One novel: its name in the package, and its lines joined by newlines."""

    name: str
    text: str

    def split(self) -> tuple[str, str]:
        """The training text and the held-out last 5 %, cut where a line begins."""
        cut = self.text.index("\n", int(len(self.text) * (1 - HELD_OUT_SHARE))) + 1
        return self.text[:cut], self.text[cut:]


def read_novels(folder: Path) -> tuple[Novel, ...]:
    """The novels in the package's ``data`` folder, by name. Raises ``UsageError`` or ``MalformedError``."""
    try:
        index, values = (folder / "Rdata.rdx").read_bytes(), (folder / "Rdata.rdb").read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"{error.filename}: there is no such file",
            hint="give the folder usr/lib/R/site-library/janeaustenr/data of Debian's r-cran-janeaustenr",
        ) from error
    try:
        places = XdrReader(_decompress(index)).read()["variables"]
        lines = {name: XdrReader(_decompress(values[at + 4 : at + size])).read() for name, (at, size) in places.items()}
        return tuple(Novel(name, "\n".join(lines[name])) for name in sorted(lines))
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise MalformedError(f"{folder}: this is not the data of a package of texts") from error


def training_text(novels: Sequence[Novel]) -> str:
    """The first 95 % of every novel."""
    return BETWEEN_NOVELS.join(novel.split()[0] for novel in novels)


def held_out_text(novels: Sequence[Novel]) -> str:
    """The last 5 % of every novel, which no training step and no tokenizer may see."""
    return BETWEEN_NOVELS.join(novel.split()[1] for novel in novels)


def _decompress(compressed: bytes) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib or gzip, whichever its header says
    try:
        content = inflater.decompress(compressed, MAX_VALUE_BYTES)
    except zlib.error as error:
        raise MalformedError(f"the R data is damaged: {error}") from error
    if not inflater.eof:
        raise MalformedError(f"the R data is cut short, or decompresses to more than {MAX_VALUE_BYTES} bytes")
    return content


class XdrReader:
    """Reads the few kinds of R values that a package of texts holds, in their order."""

    NULL, REFERENCE, SYMBOL, PAIR, CHARACTERS, LOGICAL, INTEGER, STRING, LIST = 254, 255, 1, 2, 9, 10, 13, 16, 19
    HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400

    def __init__(self, content: bytes) -> None:
        self._content, self._at, self._symbols = content, 2, list[Any]()
        if not content.startswith(b"X\n"):
            raise MalformedError("this is not R data in XDR form")
        version, _written_by, _read_by = self._integer(), self._integer(), self._integer()
        if version == 3:  # since R 3.5 the name of the native encoding follows
            self._text(self._integer())

    def read(self) -> Any:
        """The next value: None, str, list, or a dict where R's list has names. Other attributes are dropped."""
        flags = self._integer()
        kind = flags & 0xFF
        if kind == self.NULL:
            return None
        if kind == self.REFERENCE:
            return self._symbols[(flags >> 8) - 1]
        if kind == self.SYMBOL:
            self._symbols.append(self.read())
            return self._symbols[-1]
        if kind == self.CHARACTERS:
            return self._text(self._integer())
        if kind == self.PAIR and flags & self.HAS_TAG:
            return {self.read(): self.read(), **(self.read() or {})}
        if kind in (self.LOGICAL, self.INTEGER):
            items = [self._integer() for _ in range(self._integer())]
        elif kind in (self.STRING, self.LIST):
            items = [self.read() for _ in range(self._integer())]
        else:
            raise MalformedError(f"the R data holds a value of kind {kind}, which no package of texts has")
        names = (self.read() or {}).get("names") if flags & self.HAS_ATTRIBUTES else None
        return dict(zip(names, items, strict=True)) if names else items

    def _integer(self) -> int:
        (number,) = struct.unpack_from(">i", self._content, self._at)
        self._at += 4
        return int(number)

    def _text(self, length: int) -> str:
        text = self._content[self._at : self._at + length].decode()
        self._at += length
        return text
