"""Publishes in a process of its own that ends itself: FOLDER VERSION SIGNAL COUNT [tensors].

It gets that signal at the event number COUNT that tells of bytes that were hashed.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from magnetar.events import Event, Moved
from magnetar.fetch.torrent.create_torrent import TorrentOptions
from magnetar.pipeline.publish import PublishRequest, publish
from magnetar.pipeline.publishing import describe_weights
from magnetar.render.commands.publish import release_page


def main(folder: str, version: Any, number: str, count: str, *more: str) -> None:
    left = int(count)

    def tell(event: Event) -> None:
        nonlocal left
        if isinstance(event, Moved):
            left -= 1
            if not left:
                os.kill(os.getpid(), getattr(signal, number))

    os.cpu_count = lambda: 1  # one file after another, so that it is known which were done
    describe_weights.WRITE_EVERY = 0
    request = PublishRequest(folder=Path(folder), torrent=TorrentOptions(version), tensors=bool(more))
    publish(request, release_page, tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
