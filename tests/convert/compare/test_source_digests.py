"""Digests of tensors that are read in any order, by any number of threads."""

import hashlib
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.byte_source import MemorySource
from magnetar.convert.compare.source_digests import FollowBehind, SourceDigests
from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint, TensorSpec
from magnetar.errors import WrongBytesError
from magnetar.manifests.tensor_digests import TensorDigest
from magnetar.parallel import work_in_parallel


def checkpoint_of(content: bytes, name: str = "a") -> Checkpoint:
    return Checkpoint(
        "test", [MemorySource("file", content)], [TensorSpec(name, "U8", (len(content),), 0, 0, len(content))]
    )


def digests_of(checkpoint: Checkpoint, content: bytes) -> SourceDigests:
    """What is listed is the digest of ``content``, whatever the checkpoint holds."""
    listed = TensorDigest("U8", (len(content),), hashlib.sha256(content).hexdigest())
    return SourceDigests(checkpoint, dict.fromkeys(checkpoint.specs, listed), "the list")


def follow(digests: SourceDigests, checkpoint: Checkpoint, content: bytes, start: int, end: int) -> None:
    digests.follow(checkpoint.specs["a"], start, memoryview(content)[start:end])


CUTS = st.lists(st.integers(1, 299), unique=True, max_size=8).map(lambda cuts: [0, *sorted(cuts), 300])
CONTENT = random.Random(3).randbytes(300)


@given(cuts=CUTS, order=st.randoms(use_true_random=False), wrong=st.none() | st.integers(0, 299))
def test_parts_in_any_order_prove_a_tensor_and_a_wrong_byte_in_any_refutes_it(
    cuts: list[int], order: random.Random, wrong: int | None
) -> None:
    held = bytearray(CONTENT)
    if wrong is not None:
        held[wrong] ^= 1
    checkpoint = checkpoint_of(bytes(held))
    digests = digests_of(checkpoint, CONTENT)
    parts = list(pairwise(cuts))
    order.shuffle(parts)
    try:
        for start, end in parts:
            follow(digests, checkpoint, bytes(held), start, end)
        digests.read_again()
    except WrongBytesError:
        assert wrong is not None
        assert (digests.wrong, digests.proven) == ({"a"}, set())
    else:
        assert wrong is None
        assert (digests.wrong, digests.proven, digests.pending) == (set(), {"a"}, [])


@given(cuts=CUTS, left_out=st.integers(0, 20), order=st.randoms(use_true_random=False))
def test_a_tensor_of_which_a_part_was_not_read_is_not_proven(
    cuts: list[int], left_out: int, order: random.Random
) -> None:
    checkpoint = checkpoint_of(CONTENT)
    digests = digests_of(checkpoint, CONTENT)
    parts = list(pairwise(cuts))
    del parts[left_out % len(parts)]
    order.shuffle(parts)
    for start, end in parts:
        follow(digests, checkpoint, CONTENT, start, end)
    digests.read_again()
    assert (digests.proven, digests.pending) == (set(), ["a"])


def test_a_part_that_was_read_twice_proves_nothing() -> None:
    checkpoint = checkpoint_of(CONTENT)
    digests = digests_of(checkpoint, CONTENT)
    for start, end in ((100, 300), (50, 300), (0, 100)):
        follow(digests, checkpoint, CONTENT, start, end)
    digests.read_again()
    assert digests.pending == ["a"]


def test_bytes_that_were_put_right_after_they_were_read_do_not_pass() -> None:
    """What is converted are the bytes of the first read, so a second one alone would prove nothing."""
    checkpoint = checkpoint_of(CONTENT)
    digests = digests_of(checkpoint, CONTENT)
    read = bytes(200) + CONTENT[200:]
    follow(digests, checkpoint, read, 100, 300)
    follow(digests, checkpoint, read, 0, 100)
    with pytest.raises(WrongBytesError, match="a: file changed while it was read"):
        digests.read_again()
    assert digests.proven == set()


def test_a_list_that_names_a_wrong_digest_for_an_empty_tensor_is_refused() -> None:
    checkpoint = checkpoint_of(b"")
    assert digests_of(checkpoint, b"").proven == {"a"}
    with pytest.raises(WrongBytesError, match="another SHA-256"):
        digests_of(checkpoint, b"x")


def test_a_thread_behind_sees_the_bytes_as_they_were_when_they_were_given() -> None:
    content = random.Random(4).randbytes(7 * CHUNK + 5)
    checkpoint = checkpoint_of(content)
    digests = digests_of(checkpoint, content)
    memory = memoryview(bytearray(CHUNK))
    with FollowBehind(digests) as behind:
        for start in range(0, len(content), CHUNK):
            part = memory[: min(CHUNK, len(content) - start)]
            part[:] = content[start : start + len(part)]
            behind(checkpoint.specs["a"], start, part)
            part[:] = bytes(len(part))
        behind.settle()
    assert digests.proven == {"a"}


def test_what_a_thread_behind_finds_wrong_is_raised_at_the_next_call_or_at_the_end() -> None:
    checkpoint = checkpoint_of(CONTENT)
    digests = digests_of(checkpoint, bytes(300))
    with FollowBehind(digests) as behind:
        behind(checkpoint.specs["a"], 0, memoryview(CONTENT))
        with pytest.raises(WrongBytesError, match="a: has another SHA-256 than the one in the list"):
            behind.settle()


def test_many_threads_can_follow_the_parts_of_one_tensor_at_once() -> None:
    content = random.Random(5).randbytes(64 << 10)
    checkpoint = checkpoint_of(content)
    for _ in range(20):
        digests = digests_of(checkpoint, content)

        def read(start: int, digests: SourceDigests = digests) -> None:
            for begin in range(start, start + (8 << 10), 1 << 10):
                follow(digests, checkpoint, content, begin, begin + (1 << 10))

        work_in_parallel(read, range(0, 64 << 10, 8 << 10), 8)
        digests.read_again()
        assert digests.proven == {"a"}


def test_an_error_names_all_tensors_that_are_wrong_but_no_more_than_five() -> None:
    specs = [TensorSpec(f"t{number}", "U8", (1,), 0, number, 1) for number in range(9)]
    checkpoint = Checkpoint("test", [MemorySource("file", bytes(9))], specs)
    listed = {spec.name: TensorDigest("U8", (1,), "0" * 64) for spec in specs}
    digests = SourceDigests(checkpoint, listed, "the list")
    for spec in specs:
        with pytest.raises(WrongBytesError):
            digests.follow(spec, 0, memoryview(b"\0"))
    assert digests.error().message.startswith(
        "t0: has another SHA-256 than the one in the list; so with 8 more: t1, t2"
    )
    assert "t5" not in digests.error().message
    assert digests.error().paths == ("file",)
