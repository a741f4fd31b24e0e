"""The check that every path from a foreign document passes: relative, of plain parts, not into a state folder."""

import re
from pathlib import PurePosixPath

from magnetar.errors import MalformedError
from magnetar.files import STATE_FOLDER

FORBIDDEN_PARTS = frozenset({STATE_FOLDER, ".git"})
"""A payload file there could forge the state of a download, or run code at the next git command."""

PART_NUMBER = re.compile(r"\{part(?::0(\d))?\}")
"""The place for a part's number in the URL of a file that was cut into parts: ``{part}``, or ``{part:02}`` for a number
of at least two digits."""

MAX_PART_LENGTH = 255
"""Bytes of UTF-8: the limit of ext4, XFS and btrfs."""
MAX_PATH_LENGTH = 4000
"""Characters. Linux takes 4,096 bytes, the folder of the release included."""
_NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")


def safe_path(text: str) -> PurePosixPath:
    """The relative path that ``text`` names. Raises ``MalformedError`` unless it is safe to join to a folder.

    Refused are: empty and absolute paths, drive letters, back-slashes, control characters, ``.`` and ``..`` as parts,
    parts and paths that are too long, and every path into ``.magnetar`` or ``.git``, whatever its case of letters.
    """
    parts = text.split("/")
    if not text or len(text) > MAX_PATH_LENGTH or _NOT_PLAIN.search(text):
        raise MalformedError(f"{text[:100]!r} is not a safe relative path")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode("utf-8", "surrogateescape")) > MAX_PART_LENGTH:
            raise MalformedError(f"{text[:100]!r} is not a safe relative path")
        if part.rstrip(" .").lower() in FORBIDDEN_PARTS:
            raise MalformedError(f"{text[:100]!r} would be written into {part}, which is not for payload")
    return PurePosixPath(text)
