"""Fetches in a process of its own, so that a test may kill it: LINK PARENT BYTES_PER_SECOND [FILE_SIZE_LIMIT].

Prints how many bytes of payload became good, a line each time, and 0 before anything is done. The file size limit, if
any, falls once payload moves: a stand-in for a disk that is full.
"""

import sys
from dataclasses import replace
from pathlib import Path

from magnetar.errors import MagnetarError
from magnetar.events import Event, Moved
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.link.magnet import parse_magnet
from tests.fetch.world import NEARBY


def main(link: str, parent: str, rate: str, limit: str = "") -> int:
    good = 0

    def tell(event: Event) -> None:
        nonlocal good
        if isinstance(event, Moved) and event.step == "download":
            good += event.amount
            print(good, flush=True)
            if limit:
                import resource

                resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))

    print(good, flush=True)
    try:
        fetch(parse_magnet(link), Path(parent), options=replace(NEARBY, download_limit=int(rate)), emit=tell)
    except MagnetarError as error:
        print(f"{type(error).__name__}: {error.message}", flush=True)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
