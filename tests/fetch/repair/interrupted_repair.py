"""Repairs in a process of its own that kills itself: FOLDER HOST PORT STEP COUNT.

It dies, as by kill -9, at the event number COUNT of that STEP.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from magnetar.events import Event, Moved
from magnetar.fetch.repair.repair_pieces import repair
from tests.fetch.world import NEARBY


def main(folder: str, host: str, port: str, step: str, count: str) -> None:
    left = int(count)

    def tell(event: Event) -> None:
        nonlocal left
        if isinstance(event, Moved) and event.step == step:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    limit = 200_000 if step == "download" else None
    repair(Path(folder), options=replace(NEARBY, peers=((host, int(port)),), download_limit=limit), emit=tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
