"""What a program costs that runs as a process of its own. Imported by the benchmarks; does nothing by itself."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """Seconds of wall time, seconds of CPU time (user and system), and the largest resident set, in bytes."""

    seconds: float
    cpu: float
    rss: int


def measure(command: Sequence[str], patience: float = 3600.0) -> Run:
    """Run a command, start-up included, with its output thrown away. Ends the benchmark if it fails, or takes longer
    than ``patience`` seconds."""
    # An installed program has its bytecode; some environments forbid writing it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watchdog = threading.Timer(patience, process.kill)
    watchdog.start()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)[:200]} left with {process.returncode}")
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
