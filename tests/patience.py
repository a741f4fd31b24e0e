"""Limits on time in tests. None of them decides what a test says: a slow or busy machine only takes longer.

What must happen is waited for with ``PATIENCE``. What must be seen before a timeout that has to pass (an answer of a
tracker, before the search for peers is given up) is tried ``patiently``, with ever longer timeouts.
"""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

PATIENCE = 300.0
"""Seconds: a hundred times what anything here takes on a quiet machine."""

GROWING = (2.0, 10.0, 60.0, PATIENCE)
"""Seconds, to be tried one after another."""


def patiently(attempt: Callable[[float], Result], seen: Callable[[Result], object]) -> Result:
    """Try with one timeout after another until the result shows what must be ``seen``; the last result."""
    for seconds in GROWING:
        result = attempt(seconds)
        if seen(result):
            break
    return result


def wait_until(done: Callable[[], object], what: str) -> None:
    """Poll until ``done`` is true. Fails, naming ``what`` did not happen, after ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:.0f} seconds"
        time.sleep(0.02)
