"""Which tensors a conversion puts into which file, in what order. Pure: nothing is read or written."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.safetensors import encode_header, file_order
from magnetar.convert.layout.mapping import Move, Turn
from magnetar.convert.transform.stream import RECODING_BYTES
from magnetar.errors import UsageError

DEFAULT_SHARD_SIZE = 5_000_000_000
"""Bytes. The default of transformers 4 and of the Hub's tools."""

INTERPRETER = 40 << 20
"""About how many bytes of memory Python and numpy take before anything is read."""

BUFFERS = 16 << 20
"""Bytes of memory for the buffers between the process and the disk."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file to write: its header, then the tensors of ``moves``, each padded to a multiple of ``alignment`` bytes."""

    file: str
    header: bytes
    moves: tuple[Move, ...]
    alignment: int = 1

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return len(self.header) + sum(move.nbytes + self.padding(move) for move in self.moves)

    def padding(self, move: Move) -> int:
        """How many zero bytes follow a tensor."""
        return -move.nbytes % self.alignment

    @property
    def payload(self) -> int:
        """The bytes of the tensors in it."""
        return sum(move.nbytes for move in self.moves)

    def moves_after(self, size: int) -> tuple[Move, ...] | None:
        """The tensors after the first ``size`` bytes; None if the last of these bytes is not the end of a tensor."""
        position = len(self.header)
        for number, move in enumerate(self.moves):
            if position == size:
                return self.moves[number:]
            position += move.nbytes + self.padding(move)
        return () if position == size else None


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a conversion. Every byte of every tensor of the source is in exactly one segment of one shard."""

    shards: tuple[Shard, ...]

    @property
    def nbytes(self) -> int:
        """The sizes of all files together."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def payload(self) -> int:
        return sum(shard.payload for shard in self.shards)

    @property
    def tensors(self) -> int:
        return sum(len(shard.moves) for shard in self.shards)

    @property
    def dtype(self) -> str:
        """The dtype of most bytes."""
        totals: dict[str, int] = {}
        for move in self._moves():
            totals[move.dtype] = totals.get(move.dtype, 0) + move.nbytes
        return max(totals, key=lambda dtype: totals[dtype])

    @property
    def peak_memory(self) -> int:
        """About how many bytes of memory the conversion will take. This does not grow with the model.

        Where several files are written at once, each of them takes all of this but ``INTERPRETER``.
        """
        block = max((segment.block for move in self._moves() for segment in move.segments), default=0)
        return INTERPRETER + BUFFERS + block + (RECODING_BYTES if self.casts else 0)

    @property
    def turned(self) -> int:
        """How many tensors have their numbers in another order than in the source."""
        return sum(any(segment.turn is not Turn.COPY for segment in move.segments) for move in self._moves())

    @property
    def casts(self) -> dict[tuple[str, str], int]:
        """How many tensors are written in another format, by the dtypes before and after."""
        found: dict[tuple[str, str], int] = {}
        for move in self._moves():
            if move.recoded:
                key = (move.stored_as, move.dtype)
                found[key] = found.get(key, 0) + 1
        return found

    def lines(self) -> Iterator[str]:
        """The plan in words: a line for each file and each tensor. Names in it are foreign text."""
        for shard in self.shards:
            yield f"{shard.file}: {shard.nbytes:,} bytes, {len(shard.moves)} tensors"
            for move in shard.moves:
                yield f"  {move.name} {move.dtype} {list(move.shape)} = {_describe(move)}"

    def digest(self, specs: Mapping[str, TensorSpec], target: str) -> str:
        """A SHA-256 that tells what this plan makes of this source from the result of any other conversion.

        ``specs`` are the source's tensors. Their checksums go into the digest, so where the source has checksums,
        equal digests mean equal output.
        """
        document = {
            "target": target,
            "source": [(spec.name, spec.dtype, spec.shape, spec.offset, spec.seal) for spec in specs.values()],
            "shards": [(shard.file, shard.header.hex(), list_steps(shard.moves)) for shard in self.shards],
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def _moves(self) -> Iterator[Move]:
        for shard in self.shards:
            yield from shard.moves


def plan_shards(
    moves: Sequence[Move], *, stem: str, shard_size: int | None, metadata: Mapping[str, str]
) -> tuple[Shard, ...]:
    """Lay out safetensors files. ``pack_moves`` says which tensors go into which file.

    In a file, tensors stand in the order of the safetensors library. Raises ``UsageError`` for a size below one.
    """
    packs = pack_moves(moves, shard_size)
    shards = []
    for number, pack in enumerate(packs):
        placed = sorted(pack, key=lambda move: file_order(spec_of(move)))
        name = f"{shard_stem(stem, number, len(packs))}.safetensors"
        shards.append(Shard(name, encode_header(map(spec_of, placed), metadata), tuple(placed)))
    return tuple(shards)


def pack_moves(moves: Iterable[Move], shard_size: int | None) -> list[list[Move]]:
    """Divide tensors, in order, into packs of at most ``shard_size`` bytes each; None: into one pack.

    A tensor that is larger is a pack of its own. Raises ``UsageError`` for a size below one.
    """
    if shard_size is not None and shard_size < 1:
        raise UsageError(f"a shard of {shard_size} bytes holds nothing", hint="give a size such as 5GB")
    return list(_divide(moves, shard_size))


def shard_stem(stem: str, number: int, count: int) -> str:
    """The name of shard ``number``, from 0, as transformers and llama.cpp spell it, without a suffix."""
    return stem if count == 1 else f"{stem}-{number + 1:05}-of-{count:05}"


def spec_of(move: Move) -> TensorSpec:
    """Name, dtype, shape and size of the tensor that a move makes, for a header."""
    return TensorSpec(move.name, move.dtype, move.shape, -1, 0, move.nbytes)


def list_steps(moves: Iterable[Move]) -> list[tuple[object, ...]]:
    """Every segment of every tensor as plain values, for a digest."""
    return [
        (move.name, move.dtype, move.stored_as, *astuple(segment)[:3], segment.turn.value, *astuple(segment)[4:])
        for move in moves
        for segment in move.segments
    ]


def _divide(moves: Iterable[Move], shard_size: int | None) -> Iterator[list[Move]]:
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


def _describe(move: Move) -> str:
    segments = " + ".join(segment.label for segment in move.segments)
    return f"{segments}, {move.stored_as} to {move.dtype}" if move.recoded else segments
