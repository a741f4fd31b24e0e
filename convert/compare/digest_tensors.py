"""Digest every tensor as it would lie in one layout, so that the same weights can be recognised in any format."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from magnetar.convert.compare.tensor_slices import digest_slices
from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.transform.stream import RECODING_BYTES, stream_move
from magnetar.convert.transform.view import map_source
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.manifests.tensor_digests import TensorDigest, TensorDigests
from magnetar.parallel import work_in_parallel

MAX_THREADS_BYTES = 256 << 20
"""Memory that all threads may take together. Transposing takes that of a whole matrix twice."""


def tensor_digests(
    source: CheckpointSource,
    *,
    layout: str = "mistral",
    known: Mapping[str, str] = MappingProxyType({}),
    found: Callable[[str, str], None] = lambda _name, _sha256: None,
    emit: Emit = ignore,
) -> TensorDigests:
    """Digest every tensor of ``source`` as it would lie in ``layout``, on all cores, in bounded memory.

    Slices of some large matrices are digested too, so that the release can be recognised without reading it whole.
    ``layout`` is the release's own, or ``AS_IS`` for a source that was opened so. ``known`` holds digests (hex) that an
    earlier run found, by name: those tensors are not read. ``found`` is called for every other, from any thread.
    Raises ``LayoutError`` for a layout that is unknown or has no place for some tensor, ``CheckpointError`` naming a
    damaged tensor, or ``OutsideError``.
    """
    moves = map_source(source, layout)

    def digest(move: Move) -> TensorDigest:
        sha256 = known.get(move.name)
        if sha256 is None:
            sha256 = digest_move(source.checkpoint, move)
            found(move.name, sha256)
            emit(Moved(Step.DIGEST, move.nbytes))
        return TensorDigest(move.dtype, move.shape, sha256)

    emit(Began(Step.DIGEST, sum(move.nbytes for move in moves if move.name not in known)))
    digests = work_in_parallel(digest, moves, count_workers(moves))
    slices = digest_slices(source.checkpoint, moves, layout, source.stated)
    emit(Ended(Step.DIGEST))
    return TensorDigests(layout, dict(zip((move.name for move in moves), digests, strict=True)), slices)


def digest_move(checkpoint: Checkpoint, move: Move) -> str:
    """The SHA-256 (hex) of the bytes that a move makes. Raises ``CheckpointError`` (damaged) or ``OutsideError``."""
    hasher = hashlib.sha256()
    for block in stream_move(checkpoint, move, allow_overflow=True):
        hasher.update(block)
    return hasher.hexdigest()


def count_workers(moves: Iterable[Move]) -> int:
    """How many moves can be streamed at once within ``MAX_THREADS_BYTES``."""
    block = max((segment.block for move in moves for segment in move.segments), default=0)
    return min(os.cpu_count() or 1, max(MAX_THREADS_BYTES // (CHUNK + RECODING_BYTES + 2 * block), 1))
