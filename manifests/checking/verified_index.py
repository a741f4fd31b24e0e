"""The files that earlier runs read and found good, noted in the user's cache for ``verify --quick``.

A note holds the file's ``Stamp``: size, mtime, ctime, inode and device. If these are the same, nobody has written to
the file through its file system. Not noticed are a disk that went bad, a program that writes to the raw device, and
writes after root set the clock back.
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
from magnetar.files import Stamp, replace_file, stamp

CACHE_VARIABLE = "MAGNETAR_CACHE"
FORMAT = 2
"""Notes of format 1 held no ctime, and are not believed."""
MAX_INDEX_BYTES = 16 << 20
"""About a hundred thousand files."""


def cache_folder() -> Path:
    """The folder ``$MAGNETAR_CACHE``, else the platform's folder for caches."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("magnetar", appauthor=False)


class VerifiedIndex:
    """The notes on the files of one folder. All methods but ``save`` may be called from several threads.

    Make it before any file is read: a file that was changed after that moment, or shortly before, is not noted.
    """

    def __init__(self, folder: Path) -> None:
        self._began = time.time_ns()
        name = sha256(os.fsencode(folder.resolve())).hexdigest()
        self._path = cache_folder() / "verified" / f"{name}.json"
        self._entries = _read(self._path)

    def recall(self, path: str, status: os.stat_result, proofs: Sequence[str]) -> date | None:
        """The day on which the file was found good by all ``proofs``; None if it was not, or has changed since."""
        entry = self._entries.get(path)
        if entry is None or not proofs or Stamp(*entry[0]) != stamp(status):
            return None
        _stamp, day, held = entry
        return date.fromisoformat(day) if set(proofs) <= set(held) else None

    def note(self, path: str, status: os.stat_result, proofs: Sequence[str]) -> None:
        """Note that ``proofs`` found a file good. ``status`` is its status before it was read."""
        if proofs and stamp(status).is_settled(self._began):
            self._entries[path] = [stamp(status), date.today().isoformat(), list(proofs)]
        else:
            self._entries.pop(path, None)

    def forget(self, path: str) -> None:
        """Remove the note on a file that is not good."""
        self._entries.pop(path, None)

    def save(self) -> None:
        """Write the notes. A cache that cannot be written is no error: the next quick run reads more files."""
        content = json.dumps({"format": FORMAT, "files": self._entries}).encode()
        with suppress(OutsideError):
            replace_file(self._path, content)


def _read(path: Path) -> dict[str, list[Any]]:
    """The entries (stamp, day, proofs) by path. Empty if there is no file; malformed ones are left out."""
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
    if not isinstance(entry, list) or [type(value) for value in entry] != [list, str, list]:
        return False
    if [type(value) for value in entry[0]] != [int] * len(Stamp._fields):
        return False
    with suppress(ValueError):
        date.fromisoformat(entry[1])
        return all(isinstance(proof, str) for proof in entry[2])
    return False
