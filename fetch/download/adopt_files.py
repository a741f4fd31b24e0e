"""Taking over what the user already has: the same release from elsewhere, an older version, parts of a file.

Nothing here decides that a byte is good. What is brought into the folder is checked piece by piece afterwards, like
everything else that is found there.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from magnetar.byte_source import ByteSource, FileBacked, FileSpan
from magnetar.errors import DiskError, UsageError
from magnetar.events import Adopted, Began, Emit, Ended, Moved, Step, ignore
from magnetar.fetch.download.adoptable_files import AdoptableFiles, Candidate
from magnetar.fetch.download.disk_checks import part_hard_links
from magnetar.fetch.torrent.file_digests import FileDigests
from magnetar.fetch.torrent.metainfo import file_digests
from magnetar.files import disk_failure
from magnetar.manifests.hashing.merkle import merkle_root

MAX_SAMPLES = 16
"""Pieces of a candidate that are hashed before it is taken. One good piece is enough: the others are checked later."""

_COPIED_AT_ONCE = 64 << 20  # bytes: Ctrl-C is noticed between two copies
_CANNOT_SHARE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK})


def adopt(
    folder: Path,
    torrent: bytes,
    pieces: Sequence[bool],
    places: Sequence[Path],
    *,
    unwanted: frozenset[str] = frozenset(),
    links: bool = False,
    emit: Emit = ignore,
) -> int:
    """Bring bytes from ``places`` into ``folder`` for the ``pieces`` that are not good there. Returns how many bytes.

    A copy shares disk space with its source where the file system can do that. With ``links``, a file of which nothing
    is in the folder becomes a hard link to its source; whoever checks the file must part the link unless all of it is
    good. ``unwanted`` are the paths of files that are left out.
    Raises ``UsageError`` if a place does not exist, ``NoSpace`` or ``DiskError``.
    """
    adoptable = AdoptableFiles(places, apart_from=folder)
    adopted = 0
    for file in file_digests(torrent):
        lacking = list(file.ranges_without(pieces)) if file.size and file.path not in unwanted else []
        candidate = choose(file, adoptable) if lacking else None
        if candidate is not None:
            emit(Adopted(file.path, str(candidate)))
            adopted += _adopt_file(folder / file.path, file, candidate, lacking, links, emit)
    return adopted


def choose(file: FileDigests, adoptable: AdoptableFiles) -> Candidate | None:
    """The candidate of whose sampled pieces most are good; None if no candidate has a good one."""
    best: Candidate | None = None
    best_score = 0.0
    for candidate in adoptable.candidates(file):
        with suppress(DiskError, UsageError), candidate.opened() as source:  # what cannot be read is no candidate
            score = _score(file, source)
            if score > best_score:
                best, best_score = candidate, score
            if best_score == 1:
                break
    return best


def _score(file: FileDigests, source: ByteSource) -> float:
    """The share of a sample of the source's pieces that is good, from 0 to 1."""
    if source.size != file.size:
        return 0.0
    if file.digests:
        step = -(-len(file.digests) // MAX_SAMPLES)
        sample = file.digests[::step]
        return sum(piece.fits(source) for piece in sample) / len(sample)
    if file.root:
        return float(merkle_root(source, 0, file.size) == file.root)
    return 0.5  # the file has no piece of its own: only its size can be checked here


def _adopt_file(
    path: Path, file: FileDigests, candidate: Candidate, lacking: list[tuple[int, int]], links: bool, emit: Emit
) -> int:
    total = sum(length for _, length in lacking)
    emit(Began(Step.ADOPT, total))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (links and _link(candidate, path)):
            part_hard_links(path.parent, [path.name])
            with candidate.opened() as source:
                _copy(source, path, lacking, emit)
    except OSError as error:
        raise disk_failure(error, path) from error
    emit(Ended(Step.ADOPT))
    return total


def _link(candidate: Candidate, path: Path) -> bool:
    """Make the path, if it is free, another name of the candidate's file. Returns whether it is."""
    if len(candidate.paths) > 1 or path.exists():
        return False
    try:
        os.link(candidate.paths[0].resolve(), path)
    except OSError as error:
        if error.errno in _CANNOT_SHARE:
            return False
        raise
    return True


def _copy(source: FileBacked, path: Path, ranges: list[tuple[int, int]], emit: Emit) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        for offset, length in ranges:
            place = offset
            for span in source.spans(offset, length):
                _copy_span(span, target, place, emit)
                place += span.length
    finally:
        os.close(target)


def _copy_span(span: FileSpan, target: int, place: int, emit: Emit) -> None:
    done = 0
    while done < span.length:
        count = _copy_some(
            span.descriptor, span.offset + done, target, place + done, min(_COPIED_AT_ONCE, span.length - done)
        )
        if count == 0:
            return  # the source was cut meanwhile; what is missing is found by the check
        done += count
        emit(Moved(Step.ADOPT, count))


def _copy_some(source: int, offset: int, target: int, place: int, length: int) -> int:
    """Copy up to ``length`` bytes inside the kernel, sharing their space on disk where it can; else through memory."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, length, offset, place)
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
    return os.pwrite(target, os.pread(source, min(length, 1 << 20), offset), place)
