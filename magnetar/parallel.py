"""The same work on many things at once, which Ctrl-C ends.

With threads and a queue of our own: an interrupt that meets the main thread inside a future's lock, which is taken by
code in Python, leaves it taken, and the thread that has the result then waits for it without end.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Event, Thread
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
                answer = answers.get(timeout=NAP)
            except Empty:
                continue
            if isinstance(answer, BaseException):
                raise answer
            results[answer[0]] = answer[1]
        return [results[index] for index in range(count)]
    finally:
        todo.clear()  # before anything under way leaves, and its thread is free
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
    """Work on what there is to do, and answer with what came of each item, until there is no more."""
    while todo:
        try:
            index, item = todo.popleft()
        except IndexError:  # another thread was quicker
            return
        try:
            answers.put((index, work(item)))
        except BaseException as error:  # raised where it is waited for
            answers.put(error)
