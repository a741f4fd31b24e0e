"""Lists of digests as others write them: GNU and BSD checksum files, the box in a publisher's RELEASE, LFS pointers.

Formats: coreutils' ``sha256sum`` (and ``--tag``); Git LFS pointer files, version 1.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from magnetar.errors import MalformedError, ManifestError
from magnetar.manifests.folder.safe_path import safe_path
from magnetar.manifests.hashing.digests import HEX_LENGTHS, Digest
from magnetar.manifests.schema import FORMAT, Manifest, ReleaseFile

LARGEST_LIST = 16 << 20
"""Characters. Two hundred thousand lines."""

LINES = "a line is HEX, two spaces, PATH, or SHA256 (PATH) = HEX"

_BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256"}
"""What bare hex of that length is taken for, as every tool that reads such lists does."""

_OF_BLAKE3 = re.compile(r"\bb3|blake3", re.IGNORECASE)
"""Names of lists that ``b3sum`` wrote: ``B3SUMS``, ``weights.b3``. Its digests are as long as those of SHA-256."""

_GNU = re.compile(r"(\\?)([0-9a-fA-F]{32,64}) [ *](.+)")
_BSD = re.compile(r"(\\?)([A-Za-z0-9]{3,10}) \((.+)\) = ([0-9a-fA-F]{32,64})")
_BOX = re.compile(r"\b([0-9a-f]{32})\s+([\w.\-]+)\s*(?:║|$)")
_POINTER = re.compile(r"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,19})\n")


class Listed(NamedTuple):
    """One line of a list: a safe relative path, and the digest that it should have."""

    path: str
    digest: Digest


def read_checksums(text: str, name: str = "") -> tuple[Listed, ...]:
    """Every line of a GNU or BSD checksum file, or of the box in a ``RELEASE`` file.

    Bare hex is of the algorithm that its length and the list's ``name`` speak for. Raises ``MalformedError`` for a line
    that is none of these, an unsafe path, or a text that lists nothing.
    """
    if len(text) > LARGEST_LIST:
        raise MalformedError(f"a list of digests has at most {LARGEST_LIST} characters, not {len(text)}")
    listed = tuple(_read_box(text) if "md5sum" in text and "║" in text else _read_lines(text, name))
    if not listed:
        raise MalformedError("no digest is listed", hint=LINES)
    return listed


def load_list(path: Path) -> Manifest:
    """A checksum file, or a ``RELEASE`` with its box, as a manifest that knows nothing else.

    Raises ``ManifestError``, naming the file and the line.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_LIST + 1).decode("utf-8")
        files: dict[str, tuple[Digest, ...]] = {}
        for one in read_checksums(text, path.name):
            files[one.path] = (*files.get(one.path, ()), one.digest)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is neither a manifest nor a list of digests: it is not text") from error
    except MalformedError as error:
        raise ManifestError(
            f"{path}: {error.message}", hint=error.hint or "a list has lines HEX, spaces, PATH"
        ) from error
    return Manifest(
        format=FORMAT,
        name="unnamed",
        title=path.name,
        publisher="unknown",
        licence="unknown",
        files=tuple(ReleaseFile(path=name, digests=digests) for name, digests in files.items()),
    )


def read_pointer(text: str) -> tuple[Digest, int]:
    """The SHA-256 and the size in bytes that a Git LFS pointer stands for. Raises ``MalformedError``."""
    match = _POINTER.fullmatch(text)
    if match is None:
        raise MalformedError("this is not a Git LFS pointer", hint="three lines: version, oid sha256:…, size")
    return Digest("sha256", match[1]), int(match[2])


def write_checksums(files: Iterable[ReleaseFile], algorithm: str, *, tagged: bool = False) -> str:
    """A checksum file that ``sha256sum -c`` (or its kin) reads; ``tagged`` for the BSD form.

    Files without such a digest are left out. Raises ``MalformedError`` if that leaves none.
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


def _read_box(text: str) -> Iterator[Listed]:
    for line in text.splitlines():
        if match := _BOX.search(line):
            yield Listed(str(safe_path(match[2])), Digest("md5", match[1]))


def _read_lines(text: str, name: str) -> Iterator[Listed]:
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
        yield Listed(str(safe_path(path.removeprefix("./"))), Digest.parse(f"{algorithm}:{value.lower()}"))


def _escape(path: str) -> tuple[str, str]:
    """As coreutils does: a back-slash before the line says that the name has some."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return ("\\" if escaped != path else ""), escaped


def _unescape(path: str) -> str:
    return re.sub(r"\\([\\nr])", lambda match: {"\\": "\\", "n": "\n", "r": "\r"}[match[1]], path)
