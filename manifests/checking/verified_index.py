"""What earlier runs read and found good, noted in the user's cache, for a quick look at what has not changed since.

A note is worth something only to whoever trusts this machine: it shows that a file was not written to in the ordinary
way since it was read, by its size, its time of change and its inode. A disk that went bad is not seen.
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from magnetar.errors import OutsideError
from magnetar.files import replace_file

CACHE_VARIABLE = "MAGNETAR_CACHE"
FORMAT = 1
MAX_INDEX_BYTES = 16 << 20
"""Bytes. A hundred thousand files."""

TOO_FRESH_NS = 2_000_000_000
"""Nanoseconds. Some file systems tell times apart no better, so that a later write could go unseen."""


def cache_folder() -> Path:
    """``$MAGNETAR_CACHE``, else the platform's folder for caches."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("magnetar", appauthor=False)


class VerifiedIndex:
    """The notes on one folder's files. Safe to use from several threads, save for ``save``.

    To be opened before anything is read: what changed since then, or just before, is not noted.
    """

    def __init__(self, folder: Path) -> None:
        self._began = time.time_ns()
        name = sha256(os.fsencode(folder.resolve())).hexdigest()
        self._path = cache_folder() / "verified" / f"{name}.json"
        self._entries = _read(self._path)

    def recall(self, path: str, status: os.stat_result, proofs: Sequence[str]) -> date | None:
        """The day on which a file that has not changed since was found good by all ``proofs``; None if none was."""
        entry = self._entries.get(path)
        if entry is None or not proofs or entry[:3] != _stamp(status):
            return None
        day, held = entry[3], entry[4]
        return date.fromisoformat(day) if set(proofs) <= set(held) else None

    def note(self, path: str, status: os.stat_result, proofs: Sequence[str]) -> None:
        """Note that a file whose status was ``status`` before it was read is good by ``proofs``."""
        if not proofs or status.st_mtime_ns > self._began - TOO_FRESH_NS:
            self._entries.pop(path, None)
        else:
            self._entries[path] = [*_stamp(status), date.today().isoformat(), list(proofs)]

    def forget(self, path: str) -> None:
        """Note nothing of a file any more: it is not good."""
        self._entries.pop(path, None)

    def save(self) -> None:
        """Keep the notes. A cache that cannot be written is no error: the next quick look will read more."""
        content = json.dumps({"format": FORMAT, "files": self._entries}).encode()
        with suppress(OutsideError):
            replace_file(self._path, content)


def _stamp(status: os.stat_result) -> list[Any]:
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _read(path: Path) -> dict[str, list[Any]]:
    """The entries of a file of notes: size, time, inode, day, proofs; none where it is not just as it should be."""
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            return {}
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            return {}
        return {str(name): list(entry) for name, entry in document["files"].items() if _is_entry(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or [type(value) for value in entry] != [int, int, int, str, list]:
        return False
    with suppress(ValueError):
        date.fromisoformat(entry[3])
        return all(isinstance(proof, str) for proof in entry[4])
    return False
