"""The same work on many items at once, in threads. Ctrl-C ends it.

The threads and the queue are our own, because futures can hang: their locks are taken by Python code, and an interrupt
there leaves a lock taken. The thread that has the result then waits for that lock for ever.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAIT_SECONDS = 0.5
"""Every wait has this timeout. A signal that comes just before a thread begins to wait does not wake it: CPython notes
the signal, and waits all the same, for hours if the work takes hours."""


def work_in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    stopped: Event | None = None,
) -> list[Result]:
    """Do ``work`` on every item, and return the results in the order of the items.

    At most ``workers`` items are worked on at a time; None means one for each core. After an error, or Ctrl-C, no
    further item is begun, and ``stopped`` is set, so that long work can leave early. Then this waits for the items that
    are under way, and raises the error.
    """
    todo = deque(enumerate(items))
    results: dict[int, Result] = {}
    answers: SimpleQueue[tuple[int, Result] | BaseException] = SimpleQueue()
    count = len(todo)
    threads = [
        Thread(target=_serve, args=(work, todo, answers), name=f"worker {number}")
        for number in range(min(workers or os.cpu_count() or 1, count))
    ]
    try:
        for thread in threads:
            thread.start()
        while len(results) < count:
            try:
                answer = answers.get(timeout=WAIT_SECONDS)
            except Empty:
                continue
            if isinstance(answer, BaseException):
                raise answer
            results[answer[0]] = answer[1]
        return [results[index] for index in range(count)]
    finally:
        todo.clear()  # first: a thread that becomes free must find nothing to begin
        if stopped is not None:
            stopped.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _serve(
    work: Callable[[Item], Result],
    todo: deque[tuple[int, Item]],
    answers: SimpleQueue[tuple[int, Result] | BaseException],
) -> None:
    """Take items and put their results into ``answers``, until no item is left."""
    while todo:
        try:
            index, item = todo.popleft()
        except IndexError:  # another thread was quicker
            return
        try:
            answers.put((index, work(item)))
        except BaseException as error:  # raised in the main thread
            answers.put(error)
