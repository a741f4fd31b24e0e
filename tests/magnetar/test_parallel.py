import os
import signal
import subprocess
import sys
import threading
from threading import Event

import pytest

from magnetar.parallel import work_in_parallel
from tests.patience import PATIENCE


def test_results_come_in_the_order_of_the_items_whoever_is_done_first() -> None:
    second_is_done = Event()

    def work(number: int) -> int:
        if number == 2:
            second_is_done.set()
        assert number != 1 or second_is_done.wait(PATIENCE)
        return number * number

    assert work_in_parallel(work, [1, 2, 3], workers=2) == [1, 4, 9]
    assert work_in_parallel(work, []) == []


def test_no_more_than_the_workers_are_at_work_at_once() -> None:
    room = threading.Semaphore(2)

    def work(_number: int) -> None:
        assert room.acquire(blocking=False)
        room.release()

    work_in_parallel(work, range(100), workers=2)


def test_after_an_error_the_others_are_told_at_once_and_nothing_more_is_begun() -> None:
    stopped, begun = Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("1 is bad")
        assert stopped.wait(PATIENCE)  # the others would never end by themselves

    with pytest.raises(ValueError, match="1 is bad"):
        work_in_parallel(work, range(1000), workers=2, stopped=stopped)
    assert len(begun) <= 3


def test_an_interrupt_is_heard_at_whatever_moment_of_the_waiting_it_comes() -> None:
    script = (
        "import os, signal\n"
        "from threading import Event\n"
        "from magnetar.parallel import work_in_parallel\n"
        "def work(_number):\n"
        "    print('begun', flush=True)\n"
        "    sum(range(10**5))\n"
        "    stopped.wait()\n"
        "for _ in range(20):\n"
        "    stopped = Event()\n"
        "    try:\n"
        "        work_in_parallel(work, [0], 1, stopped)\n"
        "    except KeyboardInterrupt:\n"
        "        print('heard', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        patience = threading.Timer(PATIENCE, process.kill)
        patience.start()
        for _ in range(20):
            assert process.stdout.readline() == "begun\n"
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "heard\n"
        assert process.wait() == 0
        patience.cancel()
