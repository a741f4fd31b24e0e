"""Digests as values, and a single read of a file that computes several of them."""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from threading import Event
from typing import Protocol, Self

from magnetar.byte_source import new_buffer
from magnetar.errors import DiskError, MalformedError
from magnetar.manifests.hashing.distribute import ByteConsumer, distributing
from magnetar.manifests.hashing.merkle import MerkleHasher
from magnetar.parallel import work_in_parallel

HEX_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "blake3": 64, "bep52": 64}
"""The algorithms that a manifest may name, and the length of their hex.

``bep52`` is the root that a version 2 torrent has for a file: a tree of SHA-256 over blocks of 16 KiB.
"""

WEAK = frozenset({"md5", "sha1"})
"""Collisions of these are cheap to make, so alone they prove little against an attacker."""

CHUNK_BYTES = 4 << 20
"""Read at once where several threads hash; half of it where one does. The serial algorithms are as fast with 64 KiB;
BLAKE3 on all cores needs some MiB, and on one core no more than the processor's cache holds."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and lower-case hex. ``str`` gives ``sha256:9f86…``, and ``parse`` reads it back."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex``. Raises ``MalformedError`` for an unknown algorithm or hex of the wrong length."""
        algorithm, _, value = text.partition(":")
        length = HEX_LENGTHS.get(algorithm)
        if length is None:
            raise MalformedError(f"{text[:80]!r}: the algorithm is none of {', '.join(HEX_LENGTHS)}")
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", value):
            raise MalformedError(f"{text[:80]!r}: {algorithm} has {length} lower-case hex digits")
        return cls(algorithm, value)

    @property
    def weak(self) -> bool:
        """Whether collisions of the algorithm are cheap to make."""
        return self.algorithm in WEAK


class Hasher(ByteConsumer, Protocol):
    """What hashlib and blake3 have in common."""

    def hexdigest(self) -> str: ...


def new_hasher(algorithm: str, *, cores: int | None = None) -> Hasher:
    """A hasher for one of ``HEX_LENGTHS``. ``cores`` bounds the threads of BLAKE3; None lets it use all cores."""
    if algorithm == "bep52":
        return MerkleHasher()
    if algorithm != "blake3":
        return hashlib.new(algorithm, usedforsecurity=False)
    from blake3 import blake3

    hasher: Hasher = blake3(max_threads=cores or blake3.AUTO)
    return hasher


def digest_bytes(algorithm: str, content: bytes) -> Digest:
    """The digest of bytes in memory."""
    hasher = new_hasher(algorithm, cores=1)
    hasher.update(memoryview(content))
    return Digest(algorithm, hasher.hexdigest())


def digest_files(
    folder: Path,
    paths: Sequence[str],
    algorithms: Collection[str],
    progress: Callable[[int], None],
    consumers_of: Callable[[str], Collection[ByteConsumer]] = lambda _path: (),
    finished: Callable[[str, tuple[Digest, ...]], None] = lambda _path, _digests: None,
) -> list[tuple[Digest, ...]]:
    """The digests of each file below ``folder``, in the order of ``paths``; the files are read in parallel.

    ``progress`` is called with the bytes that were read. ``consumers_of`` gives, for a path, what else takes the file's
    bytes in the same read. ``finished`` is called with each file's digests as soon as they are known, from any thread.
    After an error, or Ctrl-C, the files that are being read are left at once. Raises as ``digest_file`` does.
    """
    stopped = Event()
    cores_are_full = fills_cores(size_on_disk(folder / path) for path in paths)

    def digest(path: str) -> tuple[Digest, ...]:
        def progress_unless_stopped(count: int) -> None:
            if stopped.is_set():
                raise _Stopped
            progress(count)

        digests = digest_file(
            folder / path, algorithms, progress_unless_stopped, consumers_of(path), cores_are_full=cores_are_full
        )
        finished(path, digests)
        return digests

    return work_in_parallel(digest, paths, stopped=stopped)


class _Stopped(Exception):
    """The work was stopped while this file was read."""


def fills_cores(sizes: Iterable[int]) -> bool:
    """Whether one thread for each file keeps all cores busy to the end: the largest file has no more than its share."""
    sizes = list(sizes)
    return max(sizes, default=0) * (os.cpu_count() or 1) <= sum(sizes)


def size_on_disk(path: Path) -> int:
    """The size in bytes; 0 if the file has no status, which is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def digest_file(
    path: Path,
    algorithms: Collection[str],
    progress: Callable[[int], None],
    consumers: Collection[ByteConsumer] = (),
    *,
    cores_are_full: bool = False,
) -> tuple[Digest, ...]:
    """The digests of a file by ``algorithms``, in their order, from a single read of it.

    ``progress`` is called with the bytes that were read. Each algorithm, and each of the other ``consumers``, runs on a
    thread of its own, so the slowest sets the pace. If the ``cores_are_full`` of work on other files, all run on this
    thread. Raises ``DiskError`` if the file cannot be read to its end, and whatever ``progress`` or a consumer raises.
    """
    return digest_parts((path,), algorithms, progress, consumers, cores_are_full=cores_are_full)


def digest_parts(
    paths: Sequence[Path],
    algorithms: Collection[str],
    progress: Callable[[int], None],
    consumers: Collection[ByteConsumer] = (),
    *,
    cores_are_full: bool = False,
) -> tuple[Digest, ...]:
    """As ``digest_file``, for a file that was cut into parts; ``paths`` are the parts in their order."""
    hashers = {algorithm: new_hasher(algorithm, cores=1 if cores_are_full else None) for algorithm in algorithms}
    with distributing((*hashers.values(), *consumers), in_parallel=not cores_are_full) as distribute:
        for path in paths:
            try:
                for chunk in read_chunks(path, ahead=not cores_are_full):
                    distribute(chunk)
                    progress(len(chunk))
            except OSError as error:
                raise DiskError(f"{path}: cannot be read: {error.strerror}", path=path) from error
    return tuple(Digest(algorithm, hashers[algorithm].hexdigest()) for algorithm in algorithms)


def read_chunks(path: Path, *, ahead: bool = False) -> Iterator[memoryview]:
    """Yield the file in chunks. Each chunk's memory is reused for the next (with ``ahead``, for the one after)."""
    buffers = (new_buffer(CHUNK_BYTES), new_buffer(CHUNK_BYTES)) if ahead else (new_buffer(CHUNK_BYTES // 2),)
    with path.open("rb", buffering=0) as stream:
        for buffer in cycle(buffers):
            count = stream.readinto(buffer)
            if not count:
                return
            yield buffer[:count]
