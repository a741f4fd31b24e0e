"""What was worked out of large files by a run that was stopped, noted in the user's cache for the next.

A note is believed only while its files are what they were, by size, time of change and inode: as much as
``verify --quick`` believes, and as little. Whoever finishes the work removes the notes, so that nothing is remembered
of what was not interrupted.
"""

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from magnetar.errors import OutsideError
from magnetar.files import replace_file
from magnetar.manifests.checking.verified_index import TOO_FRESH_NS, cache_folder

FORMAT = 1
MAX_NOTE_BYTES = 64 << 20
"""Bytes. The hashes of two million pieces, the most that a torrent has, do not fit: such a file is hashed again."""

Stamps = list[list[int]]
"""Size, time of change and inode of each file."""


class UnfinishedHashes:
    """The notes on one folder's files. To be opened before any of them is read."""

    def __init__(self, folder: Path) -> None:
        self._began = time.time_ns()
        self._place = cache_folder() / "unfinished" / sha256(os.fsencode(folder.resolve())).hexdigest()

    def open(self, subject: str, files: Sequence[Path]) -> "UnfinishedHash":
        """What is known of a ``subject`` that is worked out of ``files``, and a place for what will be."""
        path = self._place / f"{sha256(os.fsencode(subject)).hexdigest()}.json"
        return UnfinishedHash(path, subject, files, newest=self._began - TOO_FRESH_NS)

    def clear(self) -> None:
        """Remember nothing more of this folder."""
        shutil.rmtree(self._place, ignore_errors=True)


class UnfinishedHash:
    """One note. ``value``: what an earlier run kept, as JSON holds it; None if it kept nothing, or a file changed."""

    def __init__(self, path: Path, subject: str, files: Sequence[Path], *, newest: int) -> None:
        self._path = path
        self._subject = subject
        self._files = files
        self._newest = newest
        self._stamps = _stamps_of(files)
        self.value: Any = _read(path, subject, self._stamps) if self._stamps else None

    def keep(self, value: Any) -> None:
        """Keep what was worked out since the note was opened, unless a file changed meanwhile, or just before.

        A cache that cannot be written is no error: more will be worked out again.
        """
        if not self._stamps or self._stamps != _stamps_of(self._files):
            return
        if max(changed for _size, changed, _inode in self._stamps) > self._newest:
            return
        with suppress(OutsideError):
            replace_file(self._path, _encode(self._subject, self._stamps, value))


def _stamps_of(files: Sequence[Path]) -> Stamps:
    """None of them where one cannot be looked at."""
    try:
        statuses = [path.stat() for path in files]
    except OSError:
        return []
    return [[status.st_size, status.st_mtime_ns, status.st_ino] for status in statuses]


def _encode(subject: str, stamps: Stamps, value: Any) -> bytes:
    """The note, on a second line after a digest of it: a bit that changed here would change what is published."""
    content = json.dumps({"format": FORMAT, "subject": subject, "stamps": stamps, "value": value}).encode()
    return sha256(content).hexdigest().encode() + b"\n" + content


def _read(path: Path, subject: str, stamps: Stamps) -> Any:
    try:
        if path.stat().st_size > MAX_NOTE_BYTES:
            return None
        digest, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if sha256(content).hexdigest().encode() != digest:
        return None
    noted = json.loads(content)  # ours, byte for byte
    fits = (noted["format"], noted["subject"], noted["stamps"]) == (FORMAT, subject, stamps)
    return noted["value"] if fits else None
