"""What happened to a file that is not what it should be: it may be here under another name, or hold another's bytes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from magnetar.errors import DiskError
from magnetar.findings import Finding
from magnetar.manifests.checking.report import FileFault
from magnetar.manifests.hashing.digests import Digest, digest_file, read_chunks
from magnetar.manifests.schema import ReleaseFile

MAX_RENAMED_BYTES = 8 << 30
"""Bytes. A stray file of the right size is read to see whether it is a missing one; not if that takes minutes."""

BLOCK = 4096
"""Bytes: what a file system leaves as zeros where nothing was written."""


def diagnose(
    folder: Path,
    findings: Sequence[Finding],
    found: Mapping[str, tuple[Digest, ...]],
    files: Collection[ReleaseFile],
    unexpected: Collection[str],
) -> list[Finding]:
    """The same findings, each under the most telling name that the folder bears out.

    ``found`` holds the digests of the files that were read; ``unexpected`` the paths that the release does not have.
    """
    by_path = {file.path: file for file in files}
    owners = {digest: file.path for file in files for digest in file.digests}
    named = []
    for finding in findings:
        file = by_path[finding.subject]
        if finding.kind is FileFault.MISSING:
            finding = _look_elsewhere(folder, finding, file, unexpected)
        elif finding.kind in (FileFault.WRONG_DIGEST, FileFault.TRUNCATED, FileFault.GROWN):
            finding = _look_inside(folder, finding, owners, found.get(finding.subject, ()))
        named.append(finding)
    return named


def _look_elsewhere(folder: Path, finding: Finding, file: ReleaseFile, unexpected: Collection[str]) -> Finding:
    """A missing file may be here in other letters, or under another name."""
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


def _look_inside(folder: Path, finding: Finding, owners: Mapping[Digest, str], digests: tuple[Digest, ...]) -> Finding:
    """A wrong file may hold the bytes of another one, or zeros where its own should be."""
    for digest in digests:
        if owners.get(digest, finding.subject) != finding.subject:
            return replace(finding, kind=FileFault.SWAPPED, detail=f"holds the bytes of {owners[digest]}")
    try:
        zeros, size = _count_zeros(folder / finding.subject)
    except OSError:
        return finding
    if not zeros or zeros * 100 < size:  # weights have runs of zeros; a percent of them is no accident
        return finding
    return replace(
        finding, kind=FileFault.ZERO_FILLED, detail=f"{finding.detail}; {zeros:,} of its {size:,} bytes are zeros"
    )


def _count_zeros(path: Path) -> tuple[int, int]:
    """Bytes in blocks of nothing but zeros, and bytes in all."""
    blank = bytes(BLOCK)
    zeros = size = 0
    for chunk in read_chunks(path):
        size += len(chunk)
        for start in range(0, len(chunk), BLOCK):
            block = chunk[start : start + BLOCK]
            zeros += len(block) if block == blank[: len(block)] else 0
    return zeros, size
