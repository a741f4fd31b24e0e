"""Fetches from a mirror in a process of its own, so that a test may kill it: TORRENT PARENT URL BYTES_PER_SECOND.

Prints how many bytes of payload became good, a line each time.
"""

import sys
from dataclasses import replace
from pathlib import Path

from magnetar.events import Event, Moved
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.request.mirrors import ReleaseMirror
from tests.fetch.world import NEARBY


def main(torrent: str, parent: str, url: str, rate: str) -> int:
    good = 0

    def tell(event: Event) -> None:
        nonlocal good
        if isinstance(event, Moved) and event.step == "download":
            good += event.amount
            print(good, flush=True)

    options = replace(NEARBY, mirrors=(ReleaseMirror(url, named=True),), download_limit=int(rate))
    try:
        fetch(Path(torrent), Path(parent), options=options, emit=tell)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
