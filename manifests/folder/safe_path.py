"""The check that every path from a foreign document passes: relative, of plain parts, not into a state folder.

A release goes from one system to another, so a path must mean the same on each. What is refused is modelled on what git
refuses in a tree (``verify_path`` in its ``read-cache.c``, ``is_ntfs_dotgit`` in ``path.c``, ``is_hfs_dotgit`` in
``utf8.c``).
"""

import re
import unicodedata
from pathlib import PurePosixPath

from magnetar.characters import HIDDEN
from magnetar.errors import MalformedError
from magnetar.files import STATE_FOLDER

FORBIDDEN_PARTS = frozenset({STATE_FOLDER, ".git"})
"""A payload file there could forge the state of a download, or run code at the next git command."""

SHORT_NAME = re.compile(r"(?:git|magnet|(?:gi|ma)[0-9a-f]{4})~[0-9]+", re.IGNORECASE)
"""What NTFS and FAT call such a folder in eight letters and a number: another name of the same folder (CVE-2019-1353,
CVE-2014-9390). After four names that begin alike, two letters and four digits of a hash stand before the number."""

WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE | re.DOTALL
)
"""A name that is a device in every folder of a Windows machine, whatever suffix it has ("Naming Files, Paths, and
Namespaces", Microsoft)."""

PART_NUMBER = re.compile(r"\{part(?::0(\d))?\}")
"""The place for a part's number in the URL of a file that was cut into parts: ``{part}``, or ``{part:02}`` for a number
of at least two digits."""

MAX_PART_LENGTH = 255
"""Bytes of UTF-8: the limit of ext4, XFS and btrfs."""
MAX_PATH_LENGTH = 4000
"""Characters. Linux takes 4,096 bytes, the folder of the release included."""


def safe_path(text: str) -> PurePosixPath:
    """The relative path that ``text`` names. Raises ``MalformedError`` unless it is safe to join to a folder.

    Refused are:

    - empty and absolute paths, empty parts, ``.`` and ``..``, parts and paths that are too long;
    - back-slashes, which part a path on Windows (CVE-2019-1354);
    - colons: a drive on Windows, and on NTFS another name for a folder (``.git::$INDEX_ALLOCATION``, CVE-2019-1352);
    - a dot or a space at the end of a part, which Windows leaves out;
    - characters that are not seen, some of which HFS+ leaves out (CVE-2014-9390);
    - halves of surrogate pairs. The bytes of a name that is no UTF-8 may be spelled with ``surrogateescape``;
    - the names of devices on Windows;
    - every path into ``.magnetar`` or ``.git``, whatever its case of letters, and by its short name.
    """
    if not text or len(text) > MAX_PATH_LENGTH:
        raise _refusal(text, "it is too long" if text else "it is empty")
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _refusal(text, "it has half of a surrogate pair") from None
    if encoded.decode("utf-8", "surrogateescape") != text:
        raise _refusal(text, "it spells the bytes of a character one by one")
    if HIDDEN.search(text):
        raise _refusal(text, "it has characters that are not seen")
    if "\\" in text or ":" in text:
        raise _refusal(text, "it has a back-slash or a colon")
    for part in text.split("/"):
        _check_part(text, part)
    return PurePosixPath(text)


def _check_part(text: str, part: str) -> None:
    folded = unicodedata.normalize("NFC", part.rstrip(" .")).casefold()
    if folded in FORBIDDEN_PARTS or SHORT_NAME.fullmatch(folded):
        raise MalformedError(f"{text[:100]!r} would be written into {part!r}, which is not for payload")
    if part in ("", ".", ".."):
        raise _refusal(text, "it is not relative, or has a part without a name")
    if part[-1] in " .":
        raise _refusal(text, "a part of it ends with a dot or a space")
    if len(part.encode("utf-8", "surrogateescape")) > MAX_PART_LENGTH:
        raise _refusal(text, f"a part of it has more than {MAX_PART_LENGTH} bytes")
    if WINDOWS_DEVICE.fullmatch(part):
        raise _refusal(text, f"{part!r} names a device on some machines")


def _refusal(text: str, reason: str) -> MalformedError:
    return MalformedError(f"{text[:100]!r} is not a safe relative path: {reason}")
