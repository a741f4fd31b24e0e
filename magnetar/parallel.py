"""The same work on many things at once, which Ctrl-C ends."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

NAP = 0.5
"""Seconds. A signal that comes just before a thread begins to wait does not wake it: CPython notes it, and waits
all the same, for hours if the work takes hours. So nothing is waited for without an end."""


def work_in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    stopped: Event | None = None,
) -> list[Result]:
    """What ``work`` makes of every item, in their order, at most ``workers`` at a time: by default one for each core.

    After an error, or Ctrl-C, no more is begun, and ``stopped`` is set, so that work that takes long can leave; then
    what is under way is waited for, and the error raised.
    """
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        jobs = [pool.submit(work, item) for item in items]
        pending = set(jobs)
        while pending:
            done, pending = wait(pending, NAP, FIRST_EXCEPTION)
            for job in done:
                job.result()
        return [job.result() for job in jobs]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # before anything under way leaves, and its thread is free
        if stopped is not None:
            stopped.set()
        pool.shutdown()
