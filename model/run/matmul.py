"""Multiply with matrices as they are stored, a block of rows at a time, on all threads.

A large matrix is cut into blocks of rows, and each thread takes the next block when it is done with one. So every core
is busy, also beside the thread that reads from disk; with an even split, one half would wait for the other. It is
faster for products with few tokens, too.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch
from torch import Tensor

MAX_WIDENED_BYTES = 8 << 20
"""Bytes of float32 that a block of a matrix has after its conversion."""


def multiply(groups: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """Each of ``groups`` [..., in] times ``weight`` [out, in], in the dtype of the groups.

    If the weight is stored in another dtype, one block is converted at a time. It stays in the processor's cache, which
    is twice as fast as converting the whole matrix.
    """
    if weight.device.type != "cpu":
        converted = weight.to(groups[0].dtype)
        return [group @ converted.T for group in groups]
    blocks = torch.split(weight, max(1, MAX_WIDENED_BYTES // (4 * weight.shape[1])))
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
    """Threads that use one core each for a product: torch keeps its number of threads apart for each thread."""
    return ThreadPoolExecutor(count, "multiply", initializer=torch.set_num_threads, initargs=(1,))
