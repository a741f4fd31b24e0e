"""Lists of digests as others write them: GNU and BSD checksum files, the box in a RELEASE file, Git LFS pointers.

Formats: ``sha256sum`` of GNU coreutils, and its ``--tag``, the BSD form; Git LFS pointer files, version 1; the box
drawn with ``║`` in Mistral's RELEASE files.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from magnetar.errors import MalformedError, ManifestError
from magnetar.manifests.folder.safe_path import safe_path
from magnetar.manifests.hashing.digests import HEX_LENGTHS, Digest
from magnetar.manifests.schema import FORMAT, Manifest, ReleaseFile

MAX_LIST_LENGTH = 16 << 20
"""Characters: about two hundred thousand lines."""

LINE_HINT = "a line is HEX, two spaces, PATH, or SHA256 (PATH) = HEX"

_BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256"}
"""The algorithm that bare hex of that length stands for, as in every tool that reads such lists."""

_OF_BLAKE3 = re.compile(r"\bb3|blake3", re.IGNORECASE)
"""The name of a list that ``b3sum`` wrote: ``B3SUMS``, ``weights.b3``. BLAKE3 hex is as long as that of SHA-256, so
only the name tells them apart."""

_GNU = re.compile(r"(\\?)([0-9a-fA-F]{32,64}) [ *](.+)")
_BSD = re.compile(r"(\\?)([A-Za-z0-9]{3,10}) \((.+)\) = ([0-9a-fA-F]{32,64})")
_BOX = re.compile(r"\b([0-9a-f]{32})\s+([\w.\-]+)\s*(?:║|$)")
_POINTER = re.compile(r"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,19})\n")


class ListedDigest(NamedTuple):
    """One line of a list: a safe relative path, and the digest that the file there should have."""

    path: str
    digest: Digest


def read_checksums(text: str, name: str = "") -> tuple[ListedDigest, ...]:
    """Read every line of a GNU or BSD checksum file, or of the box in a ``RELEASE`` file.

    The algorithm of bare hex is told by its length and by ``name``, the name of the list's file. Raises
    ``MalformedError`` for a line of another form, an unsafe path, or a text that lists nothing.
    """
    if len(text) > MAX_LIST_LENGTH:
        raise MalformedError(f"a list of digests has at most {MAX_LIST_LENGTH} characters, not {len(text)}")
    listed = tuple(_read_box(text) if "md5sum" in text and "║" in text else _read_lines(text, name))
    if not listed:
        raise MalformedError("no digest is listed", hint=LINE_HINT)
    return listed


def load_list(path: Path) -> Manifest:
    """Read a checksum file, or a ``RELEASE`` with its box, as a manifest that holds nothing but paths and digests.

    Raises ``ManifestError``; its message names the file and the line.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_LIST_LENGTH + 1).decode("utf-8")
        files: dict[str, tuple[Digest, ...]] = {}
        for listed, digest in read_checksums(text, path.name):
            files[listed] = (*files.get(listed, ()), digest)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", hint="check the path", path=path) from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: is neither a manifest nor a list of digests: it is not text", path=path
        ) from error
    except MalformedError as error:
        hint = error.hint or "a list has lines HEX, spaces, PATH"
        raise ManifestError(f"{path}: {error.message}", hint=hint, path=path) from error
    return Manifest(
        format=FORMAT,
        name="unnamed",
        title=path.name,
        publisher="unknown",
        licence="unknown",
        files=tuple(ReleaseFile(path=name, digests=digests) for name, digests in files.items()),
    )


def read_pointer(text: str) -> tuple[Digest, int]:
    """Read the SHA-256 and the size in bytes that a Git LFS pointer stands for. Raises ``MalformedError``."""
    match = _POINTER.fullmatch(text)
    if match is None:
        raise MalformedError("this is not a Git LFS pointer", hint="three lines: version, oid sha256:…, size")
    return Digest("sha256", match[1]), int(match[2])


def write_checksums(files: Iterable[ReleaseFile], algorithm: str, *, tagged: bool = False) -> str:
    """The text of a checksum file that ``sha256sum -c`` (``b3sum -c`` …) reads; ``tagged`` gives the BSD form.

    Files without a digest of ``algorithm`` are left out. Raises ``MalformedError`` if no file has one.
    """
    lines = []
    for file in files:
        for digest in file.digests:
            if digest.algorithm == algorithm:
                escape, path = _escape(file.path)
                plain, tag = f"{escape}{digest.hex}  {path}", f"{escape}{algorithm.upper()} ({path}) = {digest.hex}"
                lines.append((tag if tagged else plain) + "\n")
    if not lines:
        raise MalformedError(f"no file has a {algorithm} digest", hint="`magnetar manifest show` says which there are")
    return "".join(lines)


def _read_box(text: str) -> Iterator[ListedDigest]:
    for line in text.splitlines():
        if match := _BOX.search(line):
            yield ListedDigest(str(safe_path(match[2])), Digest("md5", match[1]))


def _read_lines(text: str, name: str) -> Iterator[ListedDigest]:
    by_length = _BY_LENGTH | ({64: "blake3"} if _OF_BLAKE3.search(name) else {})
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if match := _BSD.fullmatch(line):
            escape, algorithm, path, value = match[1], match[2].lower(), match[3], match[4]
        elif match := _GNU.fullmatch(line):
            escape, algorithm, path, value = match[1], by_length.get(len(match[2]), ""), match[3], match[2]
        else:
            raise MalformedError(f"line {number} is no line of a checksum file: {line[:80]!r}")
        if algorithm not in HEX_LENGTHS:
            raise MalformedError(f"line {number}: the algorithm of {line[:80]!r} is not known")
        path = _unescape(path) if escape else path
        yield ListedDigest(str(safe_path(path.removeprefix("./"))), Digest.parse(f"{algorithm}:{value.lower()}"))


def _escape(path: str) -> tuple[str, str]:
    """Escape a path as coreutils does: a back-slash before the line says that the path in it is escaped."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return ("\\" if escaped != path else ""), escaped


def _unescape(path: str) -> str:
    return re.sub(r"\\([\\nr])", lambda match: {"\\": "\\", "n": "\n", "r": "\r"}[match[1]], path)
