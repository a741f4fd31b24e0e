"""How the pieces of a torrent lie over its files."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from magnetar.fetch.torrent.metainfo import load, payload_paths


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a file lies in the torrent's payload. Padding (BEP 47) has no path; its bytes are zeros."""

    path: str
    begin: int
    size: int

    @property
    def end(self) -> int:
        return self.begin + self.size


@dataclass(frozen=True, slots=True)
class Span:
    """``length`` bytes at ``offset`` of a file; zeros if ``path`` is empty."""

    path: str
    offset: int
    length: int


class PieceLayout:
    """Which bytes of which files each piece consists of. ``piece_length`` is in bytes.

    With ``padded``, a piece goes on into the padding after a file.
    """

    def __init__(self, extents: Sequence[Extent], piece_length: int, *, padded: bool) -> None:
        self._extents = extents
        self._begins = [extent.begin for extent in extents]
        self._files = {extent.path: extent for extent in extents if extent.path}
        self._padded = padded
        self.piece_length = piece_length

    def spans(self, piece: int) -> Iterator[Span]:
        """The spans of files that a piece consists of, in order. A piece of version 2 ends with its file."""
        begin = piece * self.piece_length
        end = min(begin + self.piece_length, self._extents[-1].end)
        index = bisect_right(self._begins, begin) - 1
        while begin < end:
            extent = self._extents[index]
            length = min(end, extent.end) - begin
            if length > 0 and (extent.path or self._padded):
                yield Span(extent.path, begin - extent.begin, length)
            begin, index = max(begin, min(end, extent.end)), index + 1

    def paths(self, piece: int) -> tuple[str, ...]:
        """The files that a piece touches, in order."""
        return tuple(span.path for span in self.spans(piece) if span.path)

    def pieces(self, path: str) -> range:
        """The pieces that hold a file; none if it is empty."""
        extent = self._files[path]
        if not extent.size:
            return range(0)
        return range(extent.begin // self.piece_length, (extent.end - 1) // self.piece_length + 1)

    def end_in_file(self, path: str, piece: int) -> int:
        """The offset in a file at which a piece ends, or at which the file ends, if that comes first."""
        extent = self._files[path]
        return min(extent.end, (piece + 1) * self.piece_length) - extent.begin


def read_layout(torrent: bytes) -> PieceLayout:
    """The layout of a torrent (``.torrent`` bytes). Raises ``TorrentError``."""
    info = load(torrent).ti
    paths, layout = payload_paths(info), info.layout()
    extents = [
        Extent(paths.get(index, ""), layout.file_offset(index), layout.file_size(index))
        for index in range(layout.num_files())
    ]
    return PieceLayout(extents, info.piece_length(), padded=info.info_hashes().has_v1())
