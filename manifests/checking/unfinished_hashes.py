"""Hashes that a stopped run computed from large files, kept in the user's cache so that the next run can go on.

A note is used only while its files have the same ``Stamp``, which is what ``verify --quick`` trusts too. A run that
ends well removes its notes (``clear``): only interrupted work is remembered.
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
from magnetar.files import Stamp, replace_file, stamp
from magnetar.manifests.checking.verified_index import cache_folder

FORMAT = 2
"""Notes of format 1 held no ctime, and are not believed."""
MAX_NOTE_BYTES = 64 << 20
"""The hashes of two million pieces, the most that a torrent can have, do not fit: such a file is hashed again."""


class UnfinishedHashes:
    """The notes on the files of one folder. Make it before any of them is read, since it remembers when it was made."""

    def __init__(self, folder: Path) -> None:
        self._began = time.time_ns()
        self._place = cache_folder() / "unfinished" / sha256(os.fsencode(folder.resolve())).hexdigest()

    def open(self, subject: str, files: Sequence[Path]) -> "UnfinishedHash":
        """The note on ``subject``, a name for something that is computed from ``files``."""
        path = self._place / f"{sha256(os.fsencode(subject)).hexdigest()}.json"
        return UnfinishedHash(path, subject, files, began=self._began)

    def clear(self) -> None:
        """Delete all notes on this folder."""
        shutil.rmtree(self._place, ignore_errors=True)


class UnfinishedHash:
    """One note. ``value`` is what an earlier run kept (a JSON value); None if there is none, or a file changed."""

    def __init__(self, path: Path, subject: str, files: Sequence[Path], *, began: int) -> None:
        self._path = path
        self._subject = subject
        self._files = files
        self._began = began
        self._stamps = _stamps_of(files)
        self.value: Any = _read(path, subject, self._stamps) if self._stamps else None

    def keep(self, value: Any) -> None:
        """Keep ``value``, unless a file changed since the note was opened, or so shortly before that it could not show.

        A cache that cannot be written is no error: the next run computes the value again.
        """
        if not self._stamps or self._stamps != _stamps_of(self._files):
            return
        if not all(seen.is_settled(self._began) for seen in self._stamps):
            return
        with suppress(OutsideError):
            replace_file(self._path, _encode(self._subject, self._stamps, value))


def _stamps_of(files: Sequence[Path]) -> list[Stamp]:
    """The stamp of each file; empty if one of them has no status."""
    try:
        return [stamp(path.stat()) for path in files]
    except OSError:
        return []


def _encode(subject: str, stamps: list[Stamp], value: Any) -> bytes:
    """A digest, then the note on a second line. A bit that flipped in the cache would change what is published."""
    content = json.dumps({"format": FORMAT, "subject": subject, "stamps": stamps, "value": value}).encode()
    return sha256(content).hexdigest().encode() + b"\n" + content


def _read(path: Path, subject: str, stamps: list[Stamp]) -> Any:
    """The value of a note; None if it is damaged, or about another subject, or its files have other stamps."""
    try:
        if path.stat().st_size > MAX_NOTE_BYTES:
            return None
        digest, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if sha256(content).hexdigest().encode() != digest:
        return None
    noted = json.loads(content)  # its digest holds, so this program wrote it
    fits = (noted["format"], noted["subject"], noted["stamps"]) == (FORMAT, subject, [list(seen) for seen in stamps])
    return noted["value"] if fits else None
