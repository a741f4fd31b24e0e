"""Digest a source's tensors as a conversion reads them, and hold them against those that a manifest lists.

Nothing is read for it, save where the bytes of a tensor are not read in order: its parts go into several tensors, or
into files that are written at once. Such a part is digested by itself. Then the tensor is read once more as a whole,
and must have both its own digest and those of its parts, so that the digest is of the bytes that were converted.
"""

import hashlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Self

from magnetar.byte_source import new_buffer
from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint, TensorSpec
from magnetar.convert.layout.tables import detect_layout
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.errors import LayoutError, WrongBytesError
from magnetar.manifests.tensor_digests import TensorDigest, TensorDigests

BUFFERS = 3
"""One is being filled, one is being digested, one is ready."""

HINT = "see what differs: magnetar verify SRC. If these are meant to be other weights, --no-check compares no digests"


def find_comparable(source: CheckpointSource, listed: TensorDigests, listed_in: str) -> dict[str, TensorDigest]:
    """The listed digests that can be compared with the bytes of ``source`` as they lie there, by name.

    Those are none where the source has another layout than the release, and none of a tensor that is there in another
    dtype. ``listed_in`` names the manifest in words.
    Raises ``WrongBytesError`` if the layout is the same, and a tensor is missing, is not listed, or has another shape.
    """
    specs = source.checkpoint.specs
    if _layout_of(source) != listed.layout:
        return {}
    if apart := sorted(specs.keys() ^ listed.tensors.keys()):
        raise _not_the_release(apart, f"only one of {source.folder} and {listed_in} has it", ())
    if other := sorted(name for name, spec in specs.items() if spec.shape != listed.tensors[name].shape):
        have, wanted = list(specs[other[0]].shape), list(listed.tensors[other[0]].shape)
        raise _not_the_release(other, f"has the shape {have}, and {listed_in} lists {wanted}", ())
    return {name: digest for name, digest in listed.tensors.items() if specs[name].dtype == digest.dtype}


class SourceDigests:
    """The running digests of the tensors in ``listed``, of which each is a tensor of ``checkpoint``.

    ``proven`` are the names of those whose bytes were all read, and have the listed digest; ``wrong`` of those that
    have another. ``listed_in`` names the manifest in words. Methods may be called from any thread.
    """

    def __init__(self, checkpoint: Checkpoint, listed: Mapping[str, TensorDigest], listed_in: str) -> None:
        self.proven: set[str] = set()
        self.wrong: set[str] = set()
        self._checkpoint = checkpoint
        self._listed = listed
        self._listed_in = listed_in
        self._runs: dict[str, list[_Run]] = {}
        self._lock = Lock()
        for name in listed:
            if checkpoint.specs[name].nbytes == 0:  # nothing of it will ever be read
                self._judge(name, hashlib.sha256().hexdigest())

    @property
    def pending(self) -> list[str]:
        """The names of the tensors that were not read to their end, or not in order."""
        return [name for name in self._listed if self.wants(name)]

    def wants(self, name: str) -> bool:
        """Whether a tensor has a digest to compare, and was not judged yet."""
        return name in self._listed and name not in self.proven and name not in self.wrong

    def follow(self, spec: TensorSpec, start: int, content: memoryview) -> None:
        """Digest bytes that were just read from ``start`` of a tensor.

        Raises ``WrongBytesError`` if they are the last ones of a tensor with another digest than the listed one.
        """
        if not self.wants(spec.name):
            return
        run = self._take(spec.name, start)
        run.digest.update(content)
        run.end = start + len(content)
        if run.start == 0 and run.end == spec.nbytes:
            self._judge(spec.name, run.digest.hexdigest())
            return
        with self._lock:
            self._runs.setdefault(spec.name, []).append(run)

    def start_over(self) -> None:
        """Forget what was read of pending tensors, because all of them will be read again."""
        with self._lock:
            self._runs.clear()

    def read_again(self) -> None:
        """Read each pending tensor that was read whole, but not in order, and compare its digest.

        Raises ``WrongBytesError`` if it is another than the listed one, or the tensor changed since it was read, or
        ``OutsideError``.
        """
        for name in self.pending:
            runs = sorted(self._runs.get(name, []), key=lambda run: run.start)
            ends = [0, *(run.end for run in runs)]
            if [*(run.start for run in runs), self._checkpoint.specs[name].nbytes] == ends:
                self._read_again(self._checkpoint.specs[name], runs)

    def error(self) -> WrongBytesError:
        """What to raise once ``wrong`` is not empty: it names the tensors."""
        names = sorted(self.wrong)
        files = {self._checkpoint.sources[self._checkpoint.specs[name].source].name for name in names}
        return _not_the_release(names, f"has another SHA-256 than the one in {self._listed_in}", tuple(sorted(files)))

    def _take(self, name: str, start: int) -> "_Run":
        """The run of bytes that ends at ``start``, or a new one."""
        with self._lock:
            runs = self._runs.get(name, [])
            for run in runs:
                if run.end == start:
                    runs.remove(run)
                    return run
        return _Run(start, start)

    def _judge(self, name: str, sha256: str) -> None:
        if sha256 == self._listed[name].sha256:
            self.proven.add(name)
            return
        self.wrong.add(name)
        raise self.error()

    def _read_again(self, spec: TensorSpec, runs: "list[_Run]") -> None:
        buffer, whole = memoryview(bytearray(min(CHUNK, spec.nbytes))), hashlib.sha256()
        for run in runs:
            part = hashlib.sha256()
            for start in range(run.start, run.end, CHUNK):
                block = buffer[: min(CHUNK, run.end - start)]
                self._checkpoint.read_into(spec, start, block)
                whole.update(block)
                part.update(block)
            if part.digest() != run.digest.digest():
                self.wrong.add(spec.name)
                file = self._checkpoint.sources[spec.source].name
                raise _not_the_release([spec.name], f"{file} changed while it was read", (file,))
        self._judge(spec.name, whole.hexdigest())


class FollowBehind:
    """A ``stream.Follow`` that gives copies of the bytes to ``SourceDigests`` in a thread of its own, in order.

    To copy takes a tenth of the time of a digest, so the thread that reads goes on. A call, or ``settle``, raises what
    an earlier one came to.
    """

    def __init__(self, digests: SourceDigests) -> None:
        self._digests = digests
        self._thread = ThreadPoolExecutor(1, "source digest")
        self._free = deque(new_buffer(CHUNK) for _ in range(BUFFERS))
        self._busy: deque[tuple[memoryview, Future[None]]] = deque()

    def __call__(self, spec: TensorSpec, start: int, content: memoryview) -> None:
        """Take at most ``CHUNK`` bytes of a tensor, from its byte ``start``."""
        if not self._digests.wants(spec.name):
            return
        if not self._free:
            self._await_oldest()
        buffer = self._free.popleft()
        copy = buffer[: len(content)]
        copy[:] = content
        self._busy.append((buffer, self._thread.submit(self._digests.follow, spec, start, copy)))

    def settle(self) -> None:
        """Wait until all that was taken is digested. Raises ``WrongBytesError``."""
        while self._busy:
            self._await_oldest()

    def close(self) -> None:
        """End the thread. What it has not begun is dropped."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _await_oldest(self) -> None:
        buffer, digested = self._busy.popleft()
        digested.result()
        self._free.append(buffer)


@dataclass(slots=True, eq=False)
class _Run:
    """Bytes ``start`` to ``end`` of a tensor, and their running SHA-256."""

    start: int
    end: int
    digest: Any = field(default_factory=hashlib.sha256)


def _layout_of(source: CheckpointSource) -> str:
    """The layout that the names are of, where the source was opened without asking for one too."""
    if source.layout != AS_IS:
        return source.layout
    try:
        return detect_layout(source.checkpoint.specs)[0].name
    except LayoutError:
        return AS_IS


def _not_the_release(names: list[str], what: str, files: tuple[str, ...]) -> WrongBytesError:
    more = f"; so with {len(names) - 1} more: {', '.join(names[1:5])}" if names[1:] else ""
    return WrongBytesError(f"{names[0]}: {what}{more}", hint=HINT, paths=files)
