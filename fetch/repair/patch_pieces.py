"""Writing good pieces over damaged ones. A piece is proven before a byte of it is written, and only blocks that differ
are written.

If the process dies in the middle, a piece is left partly mended. No block that was good has changed then, and the next
run finds that piece damaged, like any other.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, product
from pathlib import Path

from magnetar.byte_source import LocalFile, join, read_bytes
from magnetar.errors import DiskError, UsageError
from magnetar.fetch.download.disk_checks import part_hard_links
from magnetar.fetch.torrent.piece_layout import Span
from magnetar.fetch.torrent.pieces_on_disk import Pieces
from magnetar.files import disk_failure

BLOCK = 4096
"""Bytes: the smallest amount that a file system writes."""

MAX_COMBINATIONS = 64
"""Combinations of copies that are hashed for one piece that reaches over several files."""

Copies = tuple[Path, ...]
"""One file, or the parts that make it, in order."""


class Mender:
    """Mends the files of ``folder``. Files in ``left_out`` are never written, though a piece may reach into them."""

    def __init__(self, folder: Path, pieces: Pieces, left_out: Collection[str] = ()) -> None:
        self._folder = folder
        self._pieces = pieces
        self._left_out = left_out
        self._parted: set[str] = set()
        self._written: set[Path] = set()

    def mend_from(self, piece: int, copies: Mapping[str, Sequence[Copies]], *, trusted: bool = False) -> int | None:
        """Look for the content of a damaged piece among copies of the files that it lies in, and write it.

        Where a piece lies in several files, the part in one of them may be good in the folder itself, and is taken from
        there. ``trusted`` says that the copies were proven by whoever made them, which counts where the piece's hash is
        not known. Returns the bytes that were written; None if no copy has the piece. Raises ``NoSpace`` or
        ``DiskError`` if the folder cannot be written.
        """
        provable = bool(self._pieces.provable([piece]))
        for content in self._candidates(piece, copies, own=provable):
            if self._pieces.proves(piece, content) or (trusted and not provable):
                return self._write(piece, content)
        return None

    def sync(self) -> None:
        """Make what was written durable. Raises ``DiskError``."""
        for path in self._written:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise disk_failure(error, path) from error
        self._written.clear()

    def _candidates(self, piece: int, copies: Mapping[str, Sequence[Copies]], *, own: bool) -> Iterator[list[bytes]]:
        """Each content that the piece may have, as a list of its spans. Padding is zeros."""
        spans = list(self._pieces.layout.spans(piece))
        choices: list[list[Copies | None]] = []
        for span in spans:
            here: list[Copies | None] = [(self._folder / span.path,)] if own else []
            choices.append([*copies.get(span.path, ()), *here] if span.path else [None])
        for chosen in islice(product(*choices), MAX_COMBINATIONS):
            with suppress(DiskError, UsageError):  # what cannot be read, or is too short, is no copy
                yield [_read_span(span, paths) for span, paths in zip(spans, chosen, strict=True)]

    def _write(self, piece: int, content: list[bytes]) -> int:
        written = 0
        for span, data in zip(self._pieces.layout.spans(piece), content, strict=True):
            if span.path and span.path not in self._left_out:
                written += self._write_span(span, data)
        return written

    def _write_span(self, span: Span, data: bytes) -> int:
        path = self._folder / span.path
        if span.path not in self._parted:
            part_hard_links(self._folder, [span.path])
            self._parted.add(span.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o666)
            try:
                written = write_different(descriptor, span.offset, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_failure(error, path) from error
        if written:
            self._written.add(path)
        return written


def write_different(descriptor: int, offset: int, data: bytes) -> int:
    """Make a file hold ``data`` at ``offset``, writing only the blocks in which it does not. Returns bytes written."""
    written = 0
    for at, end in _differing(descriptor, offset, data):
        done = at
        while done < end:
            done += os.pwrite(descriptor, data[done:end], offset + done)
        if os.pread(descriptor, end - at, offset + at) != data[at:end]:
            raise OSError(None, "what was written does not come back")
        written += end - at
    return written


def _differing(descriptor: int, offset: int, data: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end, within ``data``, of each run of blocks that differ from the file's, or that it does not have."""
    begun: int | None = None
    at = 0
    while at < len(data):
        end = min(at + BLOCK - (offset + at) % BLOCK, len(data))
        same = os.pread(descriptor, end - at, offset + at) == data[at:end]
        if same and begun is not None:
            yield begun, at
            begun = None
        elif not same and begun is None:
            begun = at
        at = end
    if begun is not None:
        yield begun, len(data)


def _read_span(span: Span, paths: Copies | None) -> bytes:
    """The bytes of a span in a copy; zeros for padding. Raises ``UsageError`` or ``DiskError``."""
    if paths is None:
        return bytes(span.length)
    if not all(path.is_file() for path in paths):
        raise UsageError(f"{paths[0]}: there is no such file")
    files = [LocalFile(path) for path in paths]
    try:
        return read_bytes(join(paths[0].name, files), span.offset, span.length)
    finally:
        for file in files:
            file.close()
