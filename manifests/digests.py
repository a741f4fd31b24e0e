"""Digests as values, and the one read of a file that computes several of them."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from magnetar.errors import DiskError, MalformedError

HEX_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64}
"""The algorithms that a manifest may name, with the length of their lower-case hex."""

WEAK = frozenset({"md5", "sha1"})
"""Collisions of these are cheap to make, so alone they prove little against an attacker."""

CHUNK = 1 << 20
"""Bytes read at once. From 64 KiB to 16 MiB the speed is the same; this keeps progress lively and memory small."""


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


def digest_file(path: Path, algorithms: Iterable[str], moved: Callable[[int], None]) -> tuple[Digest, ...]:
    """Every digest of the file in one read of it, in the order asked for; ``moved`` is told the bytes as they pass.

    Raises ``DiskError`` where the file cannot be read to its end.
    """
    hashers: list[tuple[str, Any]] = [(name, hashlib.new(name, usedforsecurity=False)) for name in algorithms]
    buffer = memoryview(bytearray(CHUNK))
    try:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                for _, hasher in hashers:
                    hasher.update(buffer[:count])
                moved(count)
    except OSError as error:
        raise DiskError(f"{path}: cannot be read: {error.strerror}") from error
    return tuple(Digest(name, hasher.hexdigest()) for name, hasher in hashers)
