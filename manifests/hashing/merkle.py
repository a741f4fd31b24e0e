"""The hash trees of version 2 torrents (BEP 52): SHA-256 of blocks of 16 KiB, and of pairs of hashes above them."""

from hashlib import sha256

from magnetar.byte_source import ByteSource, read_bytes

BLOCK = 16 << 10
"""Bytes under each leaf."""

READ_BYTES = 1 << 20
"""Read at once by ``merkle_root``."""


class MerkleHasher:
    """Computes the root of the tree over all bytes that it is given; used like a hasher of hashlib.

    Zero hashes fill the tree up to ``leaves`` (a power of two), or to the next power of two if there are more blocks.
    Memory grows only with the height of the tree, because each subtree is folded into its root as soon as it is full.
    Without any bytes, the root is that of zero hashes; BEP 52 itself gives an empty file no root.
    """

    def __init__(self, leaves: int = 1) -> None:
        self._leaves = leaves
        self._blocks = 0
        self._rest = bytearray()
        self._folded: list[tuple[int, bytes]] = []  # (height, hash), the largest first

    def update(self, data: bytes | memoryview, /) -> None:
        """Hash more bytes, of any number."""
        view = memoryview(data)
        if self._rest:
            taken = min(BLOCK - len(self._rest), len(view))
            self._rest += view[:taken]
            view = view[taken:]
            if len(self._rest) < BLOCK:
                return
            self._hash_block(self._rest)
            self._rest = bytearray()
        whole = len(view) - len(view) % BLOCK
        for start in range(0, whole, BLOCK):
            self._hash_block(view[start : start + BLOCK])
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

    def _hash_block(self, block: bytearray | memoryview) -> None:
        _fold(self._folded, 0, sha256(block).digest())
        self._blocks += 1


def _fold(folded: list[tuple[int, bytes]], height: int, node: bytes) -> None:
    """Add a node, and merge it with its left neighbours as long as two of the same height stand side by side."""
    while folded and folded[-1][0] == height:
        node = sha256(folded.pop()[1] + node).digest()
        height += 1
    folded.append((height, node))


def _fill(folded: list[tuple[int, bytes]], top: int) -> bytes:
    """The root of a tree of height ``top``, with zero hashes for the missing leaves."""
    empty = bytes(32)
    for height in range(top):
        if folded and folded[-1][0] == height:
            _fold(folded, height, empty)
        empty = sha256(empty + empty).digest()
    return folded[0][1] if folded else empty


def merkle_root(source: ByteSource, offset: int, length: int, *, leaves: int = 1) -> bytes:
    """The root over ``length`` bytes of ``source`` from ``offset`` on; ``leaves`` as for ``MerkleHasher``."""
    hasher = MerkleHasher(leaves)
    for start in range(0, length, READ_BYTES):
        hasher.update(read_bytes(source, offset + start, min(READ_BYTES, length - start)))
    return hasher.digest()
