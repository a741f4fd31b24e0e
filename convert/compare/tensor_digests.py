"""The SHA-256 of every tensor as it would lie in a layout: what tells the same weights in any two formats."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from magnetar.convert.formats.checkpoint import CHUNK, Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.transform.stream import RECODING, stream_move
from magnetar.convert.transform.view import map_source
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.manifests.tensor_digests import TensorDigest, TensorDigests
from magnetar.parallel import work_in_parallel

ROOM = 256 << 20
"""Bytes of memory that all threads together may take: transposing holds a whole matrix twice."""


def tensor_digests(
    source: CheckpointSource,
    *,
    layout: str = "mistral",
    known: Mapping[str, str] = MappingProxyType({}),
    found: Callable[[str, str], None] = lambda _name, _sha256: None,
    emit: Emit = ignore,
) -> TensorDigests:
    """Digest every tensor of ``source`` as it would lie in ``layout``, the release's own, on all cores.

    Of a checkpoint whose names are kept (``AS_IS``), that is the layout to give. Tensors whose SHA-256 (hex) is
    ``known`` by name are not read; ``found`` is told that of each other, from any thread. Memory does not grow with the
    model.
    Raises ``LayoutError`` for an unknown layout or one with no room, ``CheckpointError`` naming a damaged tensor,
    ``DiskError``.
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
    emit(Ended(Step.DIGEST))
    return TensorDigests(layout, dict(zip((move.name for move in moves), digests, strict=True)))


def digest_move(checkpoint: Checkpoint, move: Move) -> str:
    """SHA-256 as hex of the bytes that a move makes. Raises ``CheckpointError`` if they are damaged, ``DiskError``."""
    hasher = hashlib.sha256()
    for block in stream_move(checkpoint, move, allow_overflow=True):
        hasher.update(block)
    return hasher.hexdigest()


def count_workers(moves: Iterable[Move]) -> int:
    """How many moves may be under way at once, so that their memory stays within ``ROOM``."""
    block = max((segment.block for move in moves for segment in move.segments), default=0)
    return min(os.cpu_count() or 1, max(ROOM // (CHUNK + RECODING + 2 * block), 1))
