import hashlib
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import DiskError, MalformedError
from magnetar.manifests.digests import CHUNK, HEX_LENGTHS, Digest, digest_file, new_hasher
from magnetar.manifests.merkle import BLOCK, MerkleHasher


@given(st.sampled_from(sorted(HEX_LENGTHS)), st.binary(max_size=50))
def test_a_digest_comes_back_from_its_text(algorithm: str, data: bytes) -> None:
    hasher = new_hasher(algorithm)
    hasher.update(memoryview(data))
    digest = Digest(algorithm, hasher.hexdigest())
    assert Digest.parse(str(digest)) == digest
    assert digest.weak == (algorithm in ("md5", "sha1"))


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


@given(st.text(max_size=80))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Digest.parse(text)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
def test_one_read_gives_every_digest(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    seen: list[int] = []
    digests = digest_file(tmp_path / "file", ["sha256", "md5", "blake3", "sha1"], seen.append)
    expected = [hashlib.new(name, content[:size]).hexdigest() for name in ("sha256", "md5", "sha1")]
    assert [digest.hex for digest in digests] == [*expected[:2], blake3(content[:size]).hexdigest(), expected[2]]
    assert sum(seen) == size


def test_a_file_that_cannot_be_read_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        digest_file(tmp_path, ["sha256"], lambda _count: None)
