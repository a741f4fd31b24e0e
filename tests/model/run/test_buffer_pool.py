import gc

import pytest
import torch

from magnetar.model.run.buffer_pool import MIN_POOLED_BYTES, PAGE, BufferPool

SIZE = 2 * MIN_POOLED_BYTES


def address(recycler: BufferPool, size: int = SIZE) -> int:
    return int(recycler.lend(size).ctypes.data)


def test_memory_is_used_again_when_the_last_tensor_on_it_is_gone() -> None:
    recycler = BufferPool()
    lent = recycler.lend(SIZE)
    where = lent.ctypes.data
    rows = torch.frombuffer(lent, dtype=torch.bfloat16).view(2, -1)[1]
    del lent
    gc.collect()
    assert address(recycler) != where  # a row still stands on it
    rows.zero_()
    del rows
    assert where in {recycler.lend(SIZE).ctypes.data for _ in range(2)}


def test_what_is_lent_is_as_long_as_was_asked_for_and_never_lent_twice() -> None:
    recycler = BufferPool()
    first = recycler.lend(SIZE)
    second = recycler.lend(SIZE - 5)
    assert (len(first), len(second)) == (SIZE, SIZE - 5)
    assert first.ctypes.data != second.ctypes.data


def test_memory_that_is_much_too_large_is_given_back_to_the_system() -> None:
    recycler = BufferPool()
    recycler.lend(16 * SIZE)
    recycler.lend(SIZE)  # finds nothing that fits, and lets the large one go
    assert [len(memory) for memory in recycler._free] == [SIZE + PAGE]


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, 5 * PAGE + 104])
def test_memory_lies_in_its_page_as_the_bytes_do_in_theirs(offset: int) -> None:
    recycler = BufferPool()
    for _ in range(2):  # new, and used again
        lent = recycler.lend(SIZE, offset)
        assert (lent.ctypes.data - offset) % PAGE == 0
        assert len(lent) == SIZE
        lent[:] = 7
        del lent
