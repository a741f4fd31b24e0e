"""The hash trees of version 2 torrents (BEP 52): SHA-256 over blocks of 16 KiB, and over pairs of hashes above them."""

from hashlib import sha256

from magnetar.byte_source import ByteSource, read_bytes

BLOCK = 16 << 10
"""Bytes under each leaf."""


class MerkleHasher:
    """The root over all bytes that it was given, as hashlib's hashers take them.

    Zero hashes fill the tree up to ``leaves`` (a power of two), or to the next power of two beyond. Memory grows with
    the tree's height only: each subtree is folded as soon as it is full. Without any bytes the root is that of the
    filling alone; BEP 52 gives empty files none.
    """

    def __init__(self, leaves: int = 1) -> None:
        self._leaves = leaves
        self._blocks = 0
        self._rest = bytearray()
        self._folded: list[tuple[int, bytes]] = []  # (height, hash), the largest first

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes, however many."""
        view = memoryview(data)
        if self._rest:
            taken = min(BLOCK - len(self._rest), len(view))
            self._rest += view[:taken]
            view = view[taken:]
            if len(self._rest) < BLOCK:
                return
            self._take_block(self._rest)
            self._rest = bytearray()
        whole = len(view) - len(view) % BLOCK
        for start in range(0, whole, BLOCK):
            self._take_block(view[start : start + BLOCK])
        self._rest += view[whole:]

    def digest(self) -> bytes:
        """The root, 32 bytes. More bytes may follow."""
        folded, blocks = list(self._folded), self._blocks
        if self._rest:
            _fold(folded, 0, sha256(self._rest).digest())
            blocks += 1
        return _fill(folded, (max(blocks, self._leaves) - 1).bit_length())

    def hexdigest(self) -> str:
        """The root as lower-case hex."""
        return self.digest().hex()

    def _take_block(self, block: bytearray | memoryview) -> None:
        _fold(self._folded, 0, sha256(block).digest())
        self._blocks += 1


def _fold(folded: list[tuple[int, bytes]], height: int, node: bytes) -> None:
    while folded and folded[-1][0] == height:
        node = sha256(folded.pop()[1] + node).digest()
        height += 1
    folded.append((height, node))


def _fill(folded: list[tuple[int, bytes]], top: int) -> bytes:
    """The root of the tree of height ``top`` whose missing leaves are zero hashes."""
    empty = bytes(32)
    for height in range(top):
        if folded and folded[-1][0] == height:
            _fold(folded, height, empty)
        empty = sha256(empty + empty).digest()
    return folded[0][1] if folded else empty


_READ = 1 << 20


def merkle_root(source: ByteSource, offset: int, length: int, *, leaves: int = 1) -> bytes:
    """The root over ``length`` bytes, as if zero hashes filled the tree up to ``leaves`` (a power of two) or beyond.

    Memory grows with the tree's height only.
    """
    hasher = MerkleHasher(leaves)
    for start in range(0, length, _READ):
        hasher.update(read_bytes(source, offset + start, min(_READ, length - start)))
    return hasher.digest()
