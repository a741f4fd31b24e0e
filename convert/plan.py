"""What a conversion will do, before it does anything: which tensors go into which file, in what order. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from magnetar.convert.checkpoint import CHUNK, TensorSpec
from magnetar.convert.pieces import Move, Turn
from magnetar.convert.safetensors import encode_header, file_order
from magnetar.errors import UsageError

DEFAULT_SHARD_SIZE = 5_000_000_000
"""Bytes. What transformers 4 and the Hub's tools take."""

INTERPRETER = 40 << 20
"""Roughly what Python and numpy take before a byte is moved."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file to be written: its header, then the tensors of ``moves`` back to back."""

    file: str
    header: bytes
    moves: tuple[Move, ...]

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return len(self.header) + self.payload

    @property
    def payload(self) -> int:
        """The bytes of the tensors in it."""
        return sum(move.nbytes for move in self.moves)


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a conversion. Every byte of every source tensor is in exactly one piece of one shard."""

    shards: tuple[Shard, ...]

    @property
    def nbytes(self) -> int:
        """The disk space that the weights will take."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def payload(self) -> int:
        return sum(shard.payload for shard in self.shards)

    @property
    def tensors(self) -> int:
        return sum(len(shard.moves) for shard in self.shards)

    @property
    def dtype(self) -> str:
        """The dtype that most bytes are of."""
        totals: dict[str, int] = {}
        for move in self._moves():
            totals[move.dtype] = totals.get(move.dtype, 0) + move.nbytes
        return max(totals, key=lambda dtype: totals[dtype])

    @property
    def peak_memory(self) -> int:
        """About how many bytes of memory the conversion will take, however large the model is."""
        return (
            INTERPRETER + CHUNK + 2 * max((piece.block for move in self._moves() for piece in move.pieces), default=0)
        )

    @property
    def turned(self) -> int:
        """How many tensors do not go over as they are."""
        return sum(any(piece.turn is not Turn.COPY for piece in move.pieces) for move in self._moves())

    def lines(self) -> Iterator[str]:
        """The plan in words, a line for each file and each tensor. Names are foreign text."""
        for shard in self.shards:
            yield f"{shard.file}: {shard.nbytes:,} bytes, {len(shard.moves)} tensors"
            for move in shard.moves:
                yield f"  {move.name} {move.dtype} {list(move.shape)} = {' + '.join(p.label for p in move.pieces)}"

    def digest(self, specs: Mapping[str, TensorSpec], target: str) -> str:
        """SHA-256 that tells the weights that this conversion of that source writes from any others.

        Checksums of a source that has them are part of it, so equal digests mean equal bytes there.
        """
        document = {
            "target": target,
            "source": [(spec.name, spec.dtype, spec.shape, spec.offset, spec.seal) for spec in specs.values()],
            "shards": [(shard.file, shard.header[8:].decode(), _steps(shard.moves)) for shard in self.shards],
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def _moves(self) -> Iterator[Move]:
        for shard in self.shards:
            yield from shard.moves


def plan_shards(
    moves: Sequence[Move], *, stem: str, shard_size: int | None, metadata: Mapping[str, str]
) -> tuple[Shard, ...]:
    """Pack tensors, in the given order, into files of at most ``shard_size`` bytes of tensors; None means one file.

    A larger tensor gets a file of its own. Within a file tensors stand as the safetensors library orders them.
    Files are named as transformers names them. Raises ``UsageError`` for a size below one.
    """
    if shard_size is not None and shard_size < 1:
        raise UsageError(f"a shard of {shard_size} bytes holds nothing", hint="give a size such as 5GB")
    packs = list(_pack(moves, shard_size))
    shards = []
    for number, pack in enumerate(packs, start=1):
        name = f"{stem}.safetensors" if len(packs) == 1 else f"{stem}-{number:05}-of-{len(packs):05}.safetensors"
        placed = sorted(pack, key=lambda move: file_order(_spec(move)))
        shards.append(Shard(name, encode_header(map(_spec, placed), metadata), tuple(placed)))
    return tuple(shards)


def _pack(moves: Iterable[Move], shard_size: int | None) -> Iterator[list[Move]]:
    pack: list[Move] = []
    size = 0
    for move in moves:
        if pack and shard_size is not None and size + move.nbytes > shard_size:
            yield pack
            pack, size = [], 0
        pack.append(move)
        size += move.nbytes
    if pack:
        yield pack


def _spec(move: Move) -> TensorSpec:
    return TensorSpec(move.name, move.dtype, move.shape, -1, 0, move.nbytes)


def _steps(moves: Iterable[Move]) -> list[tuple[object, ...]]:
    return [
        (piece.tensor, piece.offset, piece.nbytes, piece.turn.value, piece.rows, piece.columns, piece.block)
        for move in moves
        for piece in move.pieces
    ]
