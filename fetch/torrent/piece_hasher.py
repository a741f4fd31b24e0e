"""Hashing a torrent's pieces while the bytes pass by, so that publishing reads each file only once."""

from hashlib import sha1, sha256

from magnetar.manifests.hashing.merkle import BLOCK, MerkleHasher

_ZEROS = bytes(1 << 20)


class Sha1Pieces:
    """The SHA-1 of each piece in one file (BEP 3). The file's bytes may come in portions of any length.

    The first ``skip`` bytes belong to a piece that began in an earlier file. ``seen`` counts all bytes so far.
    """

    def __init__(self, piece_length: int, skip: int = 0) -> None:
        self.digests: list[bytes] = []
        self.seen = 0
        self._piece_length = piece_length
        self._skip = skip
        self._left = piece_length
        self._hasher = sha1(usedforsecurity=False)

    def update(self, data: memoryview, /) -> None:
        self.seen += len(data)
        place = min(self._skip, len(data))
        self._skip -= place
        while place < len(data):
            part = data[place : place + self._left]
            self._hasher.update(part)
            place += len(part)
            self._left -= len(part)
            if not self._left:
                self._end_piece()

    def end(self, *, padded: bool) -> list[bytes]:
        """The hashes of all pieces. The last piece ends with the file, or if ``padded``, with zero bytes (BEP 47)."""
        if self._left < self._piece_length:
            while padded and self._left:
                filling = _ZEROS[: self._left]
                self._hasher.update(filling)
                self._left -= len(filling)
            self._end_piece()
        return self.digests

    def _end_piece(self) -> None:
        self.digests.append(self._hasher.digest())
        self._hasher = sha1(usedforsecurity=False)
        self._left = self._piece_length


class TreePieces:
    """The roots of the pieces in one file's hash tree (BEP 52). The file's bytes may come in portions of any length.

    ``seen`` counts all bytes so far.
    """

    def __init__(self, piece_length: int) -> None:
        self.seen = 0
        self._leaves = piece_length // BLOCK
        self._piece_length = piece_length
        self._roots: list[bytes] = []
        self._piece = MerkleHasher()  # a file of one piece has a tree as large as it needs, not as large as a piece
        self._left = piece_length

    def update(self, data: memoryview, /) -> None:
        self.seen += len(data)
        place = 0
        while place < len(data):
            if not self._left:
                self._roots.append(self._piece.digest())
                self._piece = MerkleHasher(self._leaves)
                self._left = self._piece_length
            part = data[place : place + self._left]
            self._piece.update(part)
            place += len(part)
            self._left -= len(part)

    def end(self) -> tuple[bytes, bytes]:
        """The root of the file, and its layer of pieces: their roots joined; empty for a file of one piece."""
        roots = [*self._roots, self._piece.digest()]
        layer = b"".join(roots) if self._roots else b""
        empty = MerkleHasher(self._leaves).digest()
        while len(roots) > 1:
            roots += [empty] * (len(roots) % 2)
            roots = [sha256(left + right).digest() for left, right in zip(roots[::2], roots[1::2], strict=True)]
            empty = sha256(empty + empty).digest()
        return roots[0], layer
