"""The hash trees of version 2 torrents (BEP 52): SHA-256 over blocks of 16 KiB, and over pairs of hashes above them."""

from hashlib import sha256

from magnetar.ranges import ByteSource

BLOCK = 16 << 10
_READ = 1 << 20


def merkle_root(source: ByteSource, offset: int, length: int, *, leaves: int = 1) -> bytes:
    """The root over ``length`` bytes, as if zero hashes filled the tree up to ``leaves`` (a power of two) or beyond.

    Memory grows with the tree's height only: each subtree is folded as soon as it is full.
    """
    folded: list[tuple[int, bytes]] = []  # (height, hash), the largest first
    for start in range(0, length, _READ):
        data = memoryview(source.read(offset + start, min(_READ, length - start)))
        for block in range(0, len(data), BLOCK):
            _fold(folded, 0, sha256(data[block : block + BLOCK]).digest())
    blocks = max(-(-length // BLOCK), leaves)
    return _fill(folded, (blocks - 1).bit_length())


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
