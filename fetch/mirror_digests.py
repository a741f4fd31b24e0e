"""The hash of each piece, to know at once who served a wrong one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from magnetar.fetch.digests import PieceDigest
from magnetar.fetch.metainfo import file_digests, load
from magnetar.ranges import FileSpan


class Content:
    """Bytes in memory as a :class:`magnetar.ranges.ByteSource`."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._content[offset : offset + len(buffer)]

    def available(self, offset: int, length: int) -> bool:
        return offset >= 0 and offset + length <= self.size

    def spans(self, _offset: int, _length: int) -> Iterator[FileSpan]:
        return iter(())  # no open file holds them


def read_digests(torrent: bytes) -> Mapping[int, PieceDigest]:
    """What the content of each piece must hash to, by its index, for all pieces whose hash the torrent brings.

    Those of version 2 stand outside of the info dictionary that a link leads to, and are missing with it (BEP 52).
    """
    info = load(torrent).ti
    if info.info_hashes().has_v1():
        return {
            piece: PieceDigest(0, info.piece_size(piece), "sha1", info.hash_for_piece(piece))
            for piece in range(info.num_pieces())
        }
    return {
        (file.start + digest.offset) // file.piece_length: replace(digest, offset=0)
        for file in file_digests(torrent)
        for digest in file.digests
    }
