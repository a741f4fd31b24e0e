"""Paths that foreign documents name: relative, made of plain parts, and never into a folder that is not payload."""

import re
from pathlib import PurePosixPath

from magnetar.errors import MalformedError
from magnetar.files import STATE_FOLDER

FORBIDDEN_PARTS = frozenset({STATE_FOLDER, ".git"})
"""A payload there could forge the state of a download, or run code at the next git command."""

PART_NUMBER = re.compile(r"\{part(?::0(\d))?\}")
"""Where the number of a part stands in the URL of a file that was cut in parts: ``{part}``, or ``{part:02}`` for at
least two digits."""

MAX_PART_LENGTH = 255
MAX_PATH_LENGTH = 4000
_NOT_PLAIN = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")


def safe_path(text: str) -> PurePosixPath:
    """The path that ``text`` names below a folder. Raises ``MalformedError`` unless it stays below it.

    Refused: empty, absolute, drive letters, back-slashes, control characters, ``.`` and ``..`` parts, over-long
    parts, and whatever lies in ``.magnetar`` or ``.git`` in any case.
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
