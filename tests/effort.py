"""How much work something takes, in a unit that is the same on every machine: a loop, timed in the same process.

Seconds would depend on how fast the machine is and on what else it runs; the ratio to such a loop does not. A bound of
ten times what is needed still catches work that grows with the square of a file's size, and work without an end.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

STEPS = 200_000
"""Passes of the loop that is one unit: about ten milliseconds on a machine of 2024."""


@cache
def unit() -> float:
    """CPU seconds that the loop takes in this process: the fastest of five runs."""
    return min(_time_loop() for _ in range(5))


def _time_loop() -> float:
    began, kept = time.thread_time(), dict[int, int]()
    for step in range(STEPS):
        kept[step & 255] = step
    return time.thread_time() - began


class Effort:
    """``units`` of work that the block took, once it ended."""

    units = 0.0


@contextmanager
def measured_effort() -> Iterator[Effort]:
    """Measure the work that this thread does in the block."""
    effort, loop = Effort(), unit()
    began = time.thread_time()
    try:
        yield effort
    finally:
        effort.units = (time.thread_time() - began) / loop
