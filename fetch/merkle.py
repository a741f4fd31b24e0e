"""The hash trees of version 2 torrents (BEP 52) over any run of bytes."""

from magnetar.manifests.merkle import BLOCK, MerkleHasher
from magnetar.ranges import ByteSource

__all__ = ["BLOCK", "merkle_root"]

_READ = 1 << 20


def merkle_root(source: ByteSource, offset: int, length: int, *, leaves: int = 1) -> bytes:
    """The root over ``length`` bytes, as if zero hashes filled the tree up to ``leaves`` (a power of two) or beyond.

    Memory grows with the tree's height only.
    """
    hasher = MerkleHasher(leaves)
    for start in range(0, length, _READ):
        hasher.update(source.read(offset + start, min(_READ, length - start)))
    return hasher.digest()
