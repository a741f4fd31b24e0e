"""Matrices that are multiplied as they are stored, some rows at a time, on all threads.

A matrix of real size goes in blocks of rows to threads that take the next one when they are done. Beside a thread that
reads from disk that keeps every core busy, where an even split would have one half wait for the other; and the
products, which are of few tokens each, gain by it on their own.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch
from torch import Tensor

WIDENED_AT_ONCE = 8 << 20
"""Bytes of float32 that a block of a matrix is widened to."""


def multiply(groups: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """Each of ``groups`` [..., in] times ``weight`` [out, in] as it is stored, in the dtype of the groups.

    Where that is another, a block is converted at a time: it stays in the cache, which is twice as fast as converting
    the whole.
    """
    if weight.device.type != "cpu":
        converted = weight.to(groups[0].dtype)
        return [group @ converted.T for group in groups]
    blocks = torch.split(weight, max(1, WIDENED_AT_ONCE // (4 * weight.shape[1])))
    threads = torch.get_num_threads()
    if threads == 1 or len(blocks) < 2 * threads:
        parts = [_multiply_block(groups, block) for block in blocks]
    else:
        parts = list(_workers(threads).map(partial(_multiply_block, groups), blocks))
    return [torch.cat(outputs, dim=-1) for outputs in zip(*parts, strict=True)]


@torch.inference_mode()
def _multiply_block(groups: Sequence[Tensor], block: Tensor) -> list[Tensor]:
    converted = block.to(groups[0].dtype)
    return [group @ converted.T for group in groups]


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Threads of which each uses one core for a product: the number of torch's threads is each thread's own."""
    return ThreadPoolExecutor(count, "multiply", initializer=torch.set_num_threads, initargs=(1,))
