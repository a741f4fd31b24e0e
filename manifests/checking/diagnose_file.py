"""Diagnose a bad file: it may lie here under another name, hold the bytes of another file, or be zero-filled.

Or it is no such file at all, but the pointer of Git LFS, or what a server answered instead.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from magnetar.errors import DiskError
from magnetar.findings import Finding
from magnetar.manifests.checking.stand_ins import HEAD_BYTES, StandIn, find_stand_in
from magnetar.manifests.checking.verify_report import FileFault
from magnetar.manifests.hashing.digests import Digest, digest_file, read_chunks
from magnetar.manifests.schema import ReleaseFile

MAX_RENAMED_BYTES = 8 << 30
"""A file of the right size is hashed to see whether it is the missing one, unless that would take minutes."""

BLOCK_BYTES = 4096
"""File systems leave whole blocks of zeros where nothing was written."""

MIN_ZERO_PERCENT = 1
"""Weights have short runs of zeros. So many of them are no accident."""


def diagnose_files(
    folder: Path,
    findings: Sequence[Finding],
    found: Mapping[str, tuple[Digest, ...]],
    files: Collection[ReleaseFile],
    unexpected: Collection[str],
) -> list[Finding]:
    """Replace each finding by a more precise one, where the folder shows what happened to the file.

    ``found`` holds the digests of the files that were read, ``unexpected`` the paths that are not in the release.
    """
    by_path = {file.path: file for file in files}
    owners = {digest: file.path for file in files for digest in file.digests}
    precise = []
    for finding in findings:
        if finding.kind is FileFault.MISSING:
            finding = _diagnose_missing(folder, finding, by_path[finding.subject], unexpected)
        elif finding.kind in (FileFault.WRONG_DIGEST, FileFault.TRUNCATED, FileFault.GROWN):
            finding = _diagnose_content(
                folder, finding, by_path[finding.subject], owners, found.get(finding.subject, ())
            )
        precise.append(finding)
    return precise


def _diagnose_missing(folder: Path, finding: Finding, file: ReleaseFile, unexpected: Collection[str]) -> Finding:
    """A missing file may be here with another case of letters, or under another name."""
    for path in unexpected:
        if path.casefold() == file.path.casefold():
            return replace(finding, kind=FileFault.CASE_CHANGED, detail=f"is here as {path}")
    for path in unexpected:
        if file.digests and _is_the_file(folder / path, file):
            return replace(finding, kind=FileFault.RENAMED, detail=f"is here as {path}")
    return finding


def _is_the_file(path: Path, file: ReleaseFile) -> bool:
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_RENAMED_BYTES or (file.size is not None and size != file.size):
            return False
        return digest_file(path, [file.digests[0].algorithm], lambda _count: None) == file.digests[:1]
    except (OSError, DiskError):
        return False


def _diagnose_content(
    folder: Path, finding: Finding, file: ReleaseFile, owners: Mapping[Digest, str], digests: tuple[Digest, ...]
) -> Finding:
    """A wrong file may stand in for the real one, hold the bytes of another of the release, or zeros for its own."""
    if (stand_in := _read_stand_in(folder / file.path)) is not None:
        return _describe_stand_in(finding, file, stand_in)
    for digest in digests:
        if owners.get(digest, finding.subject) != finding.subject:
            return replace(finding, kind=FileFault.SWAPPED, detail=f"holds the bytes of {owners[digest]}")
    try:
        zeros, size = _count_zeros(folder / finding.subject)
    except OSError:
        return finding
    if not zeros or zeros * 100 < size * MIN_ZERO_PERCENT:
        return finding
    return replace(
        finding, kind=FileFault.ZERO_FILLED, detail=f"{finding.detail}; {zeros:,} of its {size:,} bytes are zeros"
    )


def _read_stand_in(path: Path) -> StandIn | None:
    try:
        with path.open("rb") as stream:
            return find_stand_in(stream.read(HEAD_BYTES), path.stat().st_size, path.name)
    except OSError:
        return None


def _describe_stand_in(finding: Finding, file: ReleaseFile, stand_in: StandIn) -> Finding:
    detail = f"{stand_in.words}; {stand_in.hint}"
    if stand_in.digest is not None and any(digest.algorithm == "sha256" for digest in file.digests):
        points = "the right file" if stand_in.digest in file.digests else f"another file, {stand_in.digest}"
        detail = f"{stand_in.words}, and leads to {points}; {stand_in.hint}"
    return replace(finding, kind=FileFault(stand_in.kind.value), detail=detail)


def _count_zeros(path: Path) -> tuple[int, int]:
    """Count the bytes in blocks of nothing but zeros, and all bytes."""
    blank = bytes(BLOCK_BYTES)
    zeros = size = 0
    for chunk in read_chunks(path):
        size += len(chunk)
        for start in range(0, len(chunk), BLOCK_BYTES):
            block = chunk[start : start + BLOCK_BYTES]
            zeros += len(block) if block == blank[: len(block)] else 0
    return zeros, size
