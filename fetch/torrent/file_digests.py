"""How each file of a torrent can be checked by itself, as plain data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Literal

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.manifests.hashing.merkle import merkle_root


@dataclass(frozen=True, slots=True)
class PieceDigest:
    """The hash of ``length`` bytes at ``offset`` of a file.

    Of ``kind`` "sha1" it is the hash of those bytes and ``padding`` zero bytes after them (BEP 3, BEP 47). Of ``kind``
    "merkle" it is the root of their hash tree, filled up to ``leaves`` leaves (BEP 52).
    """

    offset: int
    length: int
    kind: Literal["sha1", "merkle"]
    digest: bytes
    padding: int = 0
    leaves: int = 1

    def fits(self, source: ByteSource) -> bool:
        """Whether ``source``, a possible copy of the file, has these bytes. Raises ``DiskError``."""
        if self.kind == "merkle":
            return merkle_root(source, self.offset, self.length, leaves=self.leaves) == self.digest
        data = read_bytes(source, self.offset, self.length) + bytes(self.padding)
        return sha1(data, usedforsecurity=False).digest() == self.digest


@dataclass(frozen=True, slots=True)
class FileDigests:
    """One file of a torrent: where it lies in the payload, and the digests of the pieces that lie in it wholly.

    ``root`` is the root of its hash tree, empty in version 1. ``start`` is its offset in the payload, padding included.
    ``digests`` may be empty: a small file of version 1 shares its pieces with others, and a link brings only the roots
    of version 2.
    """

    path: str
    size: int
    start: int
    piece_length: int
    root: bytes
    digests: tuple[PieceDigest, ...]

    def ranges_without(self, pieces: Sequence[bool]) -> Iterator[tuple[int, int]]:
        """Offset and length, in the file, of each run of bytes whose pieces are not good."""
        begun: int | None = None
        for index in range(self.start // self.piece_length, -(-(self.start + self.size) // self.piece_length)):
            offset = max(index * self.piece_length - self.start, 0)
            if pieces[index] and begun is not None:
                yield begun, offset - begun
                begun = None
            elif not pieces[index] and begun is None:
                begun = offset
        if begun is not None:
            yield begun, self.size - begun
