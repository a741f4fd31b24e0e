"""What often lies in the place of weights: the pointer of Git LFS, or what a server answered instead of the file.

Pure functions of the first bytes. The pointer's form is that of Git LFS (docs/spec.md in its repository): a text of
less than 1,024 bytes that begins with its version and names the object by SHA-256 and size.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from magnetar.manifests.hashing.digests import Digest

HEAD_BYTES = 64 << 10
"""So much of a file is looked at. The answers of servers that are JSON or plain text are smaller."""

MAX_POINTER_BYTES = 1024
MAX_SENTENCE_BYTES = 2 << 10
MAX_PAGE_BYTES = 16 << 20

POINTER = re.compile(
    rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/[!-~]{1,100}\n[ -~\n]*"
)
"""The first line decides: a pointer that was cut short, or has lines of an extension, is still one."""
POINTER_DIGEST = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)

PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--(?:(?!-->).){0,2000}-->\s*){0,20}"
    rb"<(?:!doctype\s+html|html|head|body|error)\b",
    re.IGNORECASE | re.DOTALL,
)

SENTENCE = re.compile(
    rb"\s*(?:(?:error|http)\b.{0,20}?\b)?"
    rb"(?:[45]\d\d\b|entry not found|repository not found|(?:404 )?page not found|not found|file not found"
    rb"|access (?:to|denied)|invalid (?:username|credentials|token)|unauthori[sz]ed|forbidden|permission denied"
    rb"|bad (?:request|gateway)|service unavailable|internal server error|too many requests|rate limit"
    rb"|gateway time-?out)",
    re.IGNORECASE,
)

ERROR_KEYS = frozenset({"error", "errors", "message", "detail", "error_description"})
"""One of these says what went wrong (RFC 9457, and what hubs and storage services answer)."""
BESIDE_ERROR_KEYS = ERROR_KEYS | {
    *(
        "status",
        "statuscode",
        "status_code",
        "code",
        "title",
        "type",
        "instance",
        "reason",
        "path",
        "timestamp",
        "success",
    ),
    *("documentation_url", "request_id", "requestid", "error_type", "error_code", "url", "hint"),
}
MAY_BE_PAGES = frozenset({"", ".html", ".htm", ".xml", ".svg", ".txt", ".md", ".rst", ".csv", ".py", ".jinja"})
"""Suffixes of files that may well be such a text themselves."""


class StandInKind(StrEnum):
    """What lies there instead of the file."""

    LFS_POINTER = "lfs-pointer"
    ERROR_PAGE = "error-page"


WORDS = {
    StandInKind.LFS_POINTER: "is a pointer of Git LFS, not the file itself",
    StandInKind.ERROR_PAGE: "is a web page, or the error of a server, not the file itself",
}
HINTS = {
    StandInKind.LFS_POINTER: "in the clone that it is from: git lfs pull",
    StandInKind.ERROR_PAGE: "fetch it again: the address may be wrong, or ask for a login",
}


@dataclass(frozen=True, slots=True)
class StandIn:
    """What a file is instead of itself. ``digest`` is that of the file that a pointer stands for."""

    kind: StandInKind
    digest: Digest | None = None

    @property
    def words(self) -> str:
        """What it is, in words that follow the name of the file."""
        return WORDS[self.kind]

    @property
    def hint(self) -> str:
        """What to do."""
        return HINTS[self.kind]


def find_stand_in(head: bytes, size: int, name: str) -> StandIn | None:
    """What a file is instead of weights or of a document of theirs; None if it is nothing that is known.

    ``head`` is its first ``HEAD_BYTES`` bytes, ``size`` that of the whole file in bytes, ``name`` its name or path.
    """
    if size <= MAX_POINTER_BYTES and POINTER.fullmatch(head):
        found = POINTER_DIGEST.search(head)
        return StandIn(StandInKind.LFS_POINTER, Digest("sha256", found[1].decode()) if found else None)
    if PurePosixPath(name).suffix.lower() in MAY_BE_PAGES or size > MAX_PAGE_BYTES or b"\0" in head:
        return None
    is_sentence = size <= MAX_SENTENCE_BYTES and SENTENCE.match(head)
    if PAGE.match(head) or is_sentence or (size <= len(head) and _is_error_document(head)):
        return StandIn(StandInKind.ERROR_PAGE)
    return None


def _is_error_document(content: bytes) -> bool:
    """Whether it is a JSON object that has nothing to tell but an error."""
    if not content.lstrip().startswith(b"{"):
        return False
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    keys = {str(key).lower() for key in document}
    return not ERROR_KEYS.isdisjoint(keys) and keys <= BESIDE_ERROR_KEYS
