"""Files to which nobody wrote just now, so that a later change of them cannot go unseen."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from magnetar.files import stamp
from tests.patience import wait_until

LONG_AGO = 1_600_000_000
"""A time of change (mtime), in seconds since 1970. No program can set the other one (ctime)."""


def settle(paths: Iterable[Path], modified: int = LONG_AGO) -> None:
    """Set the mtime of files to one long ago, and wait until the clock of their file system has moved on."""
    paths = [path for path in paths if path.is_file()]
    for path in paths:
        os.utime(path, (modified, modified))
    wait_until(lambda: all(stamp(path.stat()).is_settled(time.time_ns()) for path in paths), "a tick of the clock")
