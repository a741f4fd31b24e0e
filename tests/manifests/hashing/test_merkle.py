import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.byte_source import LocalFile
from magnetar.manifests.hashing.merkle import READ_BYTES, MerkleHasher, merkle_root

BLOCK = 16 * 1024  # as BEP 52 has it


def plain_root(data: bytes) -> str:
    """BEP 52 as its text has it: all leaves side by side, then level by level."""
    level = [hashlib.sha256(data[start : start + BLOCK]).digest() for start in range(0, len(data), BLOCK)]
    level += [bytes(32)] * ((1 << (len(level) - 1).bit_length()) - len(level))
    while len(level) > 1:
        level = [hashlib.sha256(one + other).digest() for one, other in zip(level[::2], level[1::2], strict=True)]
    return level[0].hex()


@given(st.integers(1, 9 * BLOCK), st.lists(st.integers(0, 3 * BLOCK), max_size=8))
def test_the_root_of_a_file_is_that_of_bep_52_however_its_bytes_come(size: int, cuts: list[int]) -> None:
    data = (b"magnetar" * (size // 8 + 1))[:size]
    hasher, start = MerkleHasher(), 0
    for cut in cuts:
        hasher.update(memoryview(data)[start : start + cut])
        start += cut
    hasher.update(data[start:])
    assert hasher.hexdigest() == plain_root(data)


@pytest.mark.parametrize("leaves", [1, 2, 4, 8])
def test_zero_hashes_fill_the_tree_up_to_the_leaves_that_were_asked_for(leaves: int) -> None:
    level = [hashlib.sha256(b"x" * 10).digest(), *[bytes(32)] * (leaves - 1)]
    while len(level) > 1:
        level = [hashlib.sha256(one + other).digest() for one, other in zip(level[::2], level[1::2], strict=True)]
    hasher = MerkleHasher(leaves)
    hasher.update(b"x" * 10)
    assert hasher.digest() == level[0]


def test_bytes_may_follow_after_the_root_was_asked_for() -> None:
    hasher = MerkleHasher()
    hasher.update(b"a" * (BLOCK + 1))
    assert hasher.hexdigest() == plain_root(b"a" * (BLOCK + 1))
    hasher.update(b"a" * BLOCK)
    assert hasher.hexdigest() == plain_root(b"a" * (2 * BLOCK + 1))


@pytest.mark.parametrize("size", [1, BLOCK, READ_BYTES - 1, READ_BYTES, READ_BYTES + BLOCK + 1])
def test_the_root_of_a_part_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(b"before" + data[:size] + b"after")
    with LocalFile(tmp_path / "file") as source:
        assert merkle_root(source, 6, size).hex() == plain_root(data[:size])
        hasher = MerkleHasher(256)
        hasher.update(data[:size])
        assert merkle_root(source, 6, size, leaves=256) == hasher.digest()
