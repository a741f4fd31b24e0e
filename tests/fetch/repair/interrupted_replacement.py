"""Replaces a file from a mirror in a process of its own that kills itself: FOLDER URL PATH SIZE DIGEST BYTES.

It dies, as by kill -9, when BYTES have come.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from magnetar.events import Event, Moved
from magnetar.fetch.repair.replace_files import replace_files
from magnetar.fetch.request.mirrors import ReleaseMirror
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import ReleaseFile
from tests.fetch.world import NEARBY


def main(folder: str, url: str, path: str, size: str, digest: str, count: str) -> None:
    left = int(count)

    def tell(event: Event) -> None:
        nonlocal left
        if isinstance(event, Moved) and event.step == "download":
            left -= event.amount
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    file = ReleaseFile(path=path, size=int(size), digests=(Digest.parse(digest),))
    replace_files(Path(folder), [file], replace(NEARBY, mirrors=(ReleaseMirror(url, named=True),)), tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
