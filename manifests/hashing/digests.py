"""Digests as values, and the one read of a file that computes several of them."""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Protocol, Self

from magnetar.byte_source import new_buffer
from magnetar.errors import DiskError, MalformedError
from magnetar.manifests.hashing.merkle import MerkleHasher
from magnetar.parallel import work_in_parallel

HEX_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "blake3": 64, "bep52": 64}
"""The algorithms that a manifest may name, with the length of their lower-case hex.

``bep52`` is the root that a version 2 torrent has for the file: SHA-256 over a tree of blocks of 16 KiB.
"""

WEAK = frozenset({"md5", "sha1"})
"""Collisions of these are cheap to make, so alone they prove little against an attacker."""

CHUNK_BYTES = 4 << 20
"""Bytes read at once, or half of that. From 64 KiB upward the serial algorithms do not care; BLAKE3 on all cores wants
some MiB, and on one core no more than a cache holds."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and lower-case hex. ``str`` and ``parse`` round-trip: ``sha256:9f86…``."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex``. Raises ``MalformedError`` for an unknown algorithm or hex of a wrong length."""
        algorithm, _, value = text.partition(":")
        length = HEX_LENGTHS.get(algorithm)
        if length is None:
            raise MalformedError(f"{text[:80]!r}: the algorithm is none of {', '.join(HEX_LENGTHS)}")
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", value):
            raise MalformedError(f"{text[:80]!r}: {algorithm} has {length} lower-case hex digits")
        return cls(algorithm, value)

    @property
    def weak(self) -> bool:
        """Whether collisions of the algorithm are cheap."""
        return self.algorithm in WEAK


class ByteConsumer(Protocol):
    """What is told a file's bytes from its beginning to its end."""

    def update(self, data: memoryview, /) -> object: ...


class Hasher(ByteConsumer, Protocol):
    """What hashlib and blake3 have in common."""

    def hexdigest(self) -> str: ...


def new_hasher(algorithm: str, *, cores: int | None = None) -> Hasher:
    """A hasher for one of ``HEX_LENGTHS``. BLAKE3 uses so many cores by itself; all of them where it is not said."""
    if algorithm == "bep52":
        return MerkleHasher()
    if algorithm != "blake3":
        return hashlib.new(algorithm, usedforsecurity=False)
    from blake3 import blake3

    hasher: Hasher = blake3(max_threads=cores or blake3.AUTO)
    return hasher


def digest_files(
    folder: Path,
    paths: Sequence[str],
    algorithms: Collection[str],
    moved: Callable[[int], None],
    fed: Callable[[str], Collection[ByteConsumer]] = lambda _path: (),
    found: Callable[[str, tuple[Digest, ...]], None] = lambda _path, _digests: None,
) -> list[tuple[Digest, ...]]:
    """Every digest of each file below ``folder``, in their order; files side by side on all cores.

    ``fed`` gives what else is told the bytes of the file at a path, in the same read; ``found`` is told the digests of
    each as they are known, from any thread. After an error, or Ctrl-C, the files that are being read are left at once.
    Raises as ``digest_file`` does.
    """
    left, full = Event(), fills_cores(size_on_disk(folder / path) for path in paths)

    def digest(path: str) -> tuple[Digest, ...]:
        def passed(count: int) -> None:
            if left.is_set():
                raise _Left
            moved(count)

        digests = digest_file(folder / path, algorithms, passed, fed(path), full=full)
        found(path, digests)
        return digests

    return work_in_parallel(digest, paths, stopped=left)


class _Left(Exception):
    """Nobody waits for this file any more."""


def fills_cores(sizes: Iterable[int]) -> bool:
    """Whether files of these sizes keep all cores busy to the end with one thread for each file: none is too large."""
    sizes = list(sizes)
    return max(sizes, default=0) * (os.cpu_count() or 1) <= sum(sizes)


def size_on_disk(path: Path) -> int:
    """Bytes; none where the file cannot be looked at, which whoever reads it will tell."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def digest_file(
    path: Path,
    algorithms: Collection[str],
    moved: Callable[[int], None],
    fed: Collection[ByteConsumer] = (),
    *,
    full: bool = False,
) -> tuple[Digest, ...]:
    """Every digest of the file in one read of it, in the order asked for; ``moved`` is told the bytes as they pass.

    Several algorithms, and whatever else is ``fed`` the bytes, run side by side, each on a thread of its own, so that
    the slowest sets the pace; where the cores are ``full`` of other files, all in this one.
    Raises ``DiskError`` where the file cannot be read to its end, and whatever ``moved`` raises.
    """
    return digest_parts((path,), algorithms, moved, fed, full=full)


def digest_parts(
    paths: Sequence[Path],
    algorithms: Collection[str],
    moved: Callable[[int], None],
    fed: Collection[ByteConsumer] = (),
    *,
    full: bool = False,
) -> tuple[Digest, ...]:
    """As ``digest_file``, of a file that was cut into parts, in their order."""
    hashers = {algorithm: new_hasher(algorithm, cores=1 if full else None) for algorithm in algorithms}
    with _feeding((*hashers.values(), *fed), side_by_side=not full) as feed:
        for path in paths:
            try:
                for chunk in read_chunks(path, ahead=not full):
                    feed(chunk)
                    moved(len(chunk))
            except OSError as error:
                raise DiskError(f"{path}: cannot be read: {error.strerror}") from error
    return tuple(Digest(algorithm, hashers[algorithm].hexdigest()) for algorithm in algorithms)


def read_chunks(path: Path, *, ahead: bool = False) -> Iterator[memoryview]:
    """The file in pieces, each good until the next is asked for; ``ahead``, until the one after the next."""
    buffers = (new_buffer(CHUNK_BYTES), new_buffer(CHUNK_BYTES)) if ahead else (new_buffer(CHUNK_BYTES // 2),)
    with path.open("rb", buffering=0) as stream:
        for buffer in cycle(buffers):
            count = stream.readinto(buffer)
            if not count:
                return
            yield buffer[:count]


@contextmanager
def _feeding(feeds: Collection[ByteConsumer], *, side_by_side: bool) -> Iterator[Callable[[memoryview], object]]:
    """A function that gives a chunk to every one of ``feeds``.

    ``side_by_side`` each has a thread of its own, and the function returns when they are done with the chunk before:
    so the next chunk is read while this one is hashed.
    """
    if not side_by_side:
        yield lambda chunk: [feed.update(chunk) for feed in feeds]
        return
    inboxes: list[SimpleQueue[memoryview | None]] = [SimpleQueue() for _ in feeds]
    answers: SimpleQueue[BaseException | None] = SimpleQueue()
    threads = [Thread(target=_serve, args=(*pair, answers)) for pair in zip(feeds, inboxes, strict=True)]
    awaited = 0

    def finish() -> None:
        nonlocal awaited
        while awaited:
            awaited -= 1
            if error := answers.get():
                raise error

    def feed(chunk: memoryview) -> None:
        nonlocal awaited
        finish()
        for inbox in inboxes:
            inbox.put(chunk)
        awaited = len(inboxes)

    for thread in threads:
        thread.start()
    try:
        yield feed
        finish()
    finally:
        for inbox in inboxes:
            inbox.put(None)
        for thread in threads:
            thread.join()


def _serve(
    feed: ByteConsumer, inbox: SimpleQueue[memoryview | None], answers: SimpleQueue[BaseException | None]
) -> None:
    """Give ``feed`` what comes, until None does; every chunk is answered, by None where nothing was wrong."""
    while (chunk := inbox.get()) is not None:
        try:
            feed.update(chunk)
            answers.put(None)
        except BaseException as error:  # raised where it is waited for
            answers.put(error)
