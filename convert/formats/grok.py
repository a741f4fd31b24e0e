"""Grok-1 as released: 770 pickles of JAX arrays. The arrays are found in the bytes; nothing is unpickled.

The structure is that of xai-org/grok-1 (checkpoint.py, model.py). The files are the leaves of a tree of parameters in
the order of its sorted keys, twelve for each layer, so layer 10 comes before layer 2. Matrices are 8-bit integers with
bfloat16 scales: the rows are divided into equal runs, and each column of each run has one scale. They are read as the
32-bit floats that they stand for, exactly. Names and (in, out) shapes are those of JAX.
"""

import io
import math
import pickletools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from magnetar.byte_source import ByteSource, SourceFolder, closing_on_error, open_all, read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec
from magnetar.convert.formats.pickle_reader import unsafe
from magnetar.errors import CheckpointError

FILE = re.compile(r"tensor(\d{5})_000")
PER_LAYER = 12
SLOTS = (
    *("moe.linear", "moe.linear_1", "moe.linear_v"),
    *("attention.key", "attention.linear", "attention.query", "attention.value"),
    *("rms_norm", "rms_norm_1", "rms_norm_2", "rms_norm_3", "router"),
)
"""A layer's leaves: gate, down and up projections of the experts; attention; norms before and after each; router."""

MODULES = frozenset({"numpy", "ml_dtypes", "jax", "jaxlib", "__main__", "model", "_codecs"})
WORDS = frozenset(
    {
        *("_reconstruct", "_frombuffer", "ndarray", "dtype", "bfloat16", "QuantizedWeight8bit", "weight", "scales"),
        *("_reconstruct_array", "weak_type", "named_shape", "encode", "latin1"),
        *("f4", "i1", "V2", "E", "<", "|", "=", "C", "b"),
    }
)
"""The only texts that pickles of arrays hold: parts of names, which are never imported, and descriptions of numbers."""

MAX_TEXT_BYTES = 256
MAX_INSTRUCTIONS = 10_000
SKIPPED: Mapping[str, int] = {
    **dict.fromkeys(("PROTO", "BININT1", "BINPUT", "BINGET"), 1),
    "BININT2": 2,
    **dict.fromkeys(("BININT", "LONG_BINPUT", "LONG_BINGET"), 4),
    "FRAME": 8,
    **dict.fromkeys(("MARK", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_LIST"), 0),
    **dict.fromkeys(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "MEMOIZE", "SETITEM", "SETITEMS", "APPEND"), 0),
    **dict.fromkeys(("REDUCE", "BUILD", "NEWOBJ", "STACK_GLOBAL"), 0),
}
"""Instructions that build an object of arrays, with the bytes of their arguments. None of them is carried out."""

TEXTS: Mapping[str, int] = {"SHORT_BINUNICODE": 1, "BINUNICODE": 4}
BUFFERS: Mapping[str, int] = {"SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
NAMES: Mapping[bytes, str] = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}


def is_grok(names: Sequence[str]) -> bool:
    """Whether these are the names of the files of such a checkpoint."""
    return bool(names) and all(FILE.fullmatch(name) for name in names)


def open_grok(folder: SourceFolder, names: Iterable[str]) -> Checkpoint:
    """The tensors of all the named files. Raises ``CheckpointError``, ``UnsafePickle`` or ``OutsideError``."""
    sources = open_all(folder, sorted(names))
    with closing_on_error(sources):
        return read_grok(sources)


def read_grok(sources: Sequence[ByteSource]) -> Checkpoint:
    """The tensors of the files in the order of their numbers. Raises ``CheckpointError`` or ``UnsafePickle``."""
    layers, left = divmod(len(sources) - 2, PER_LAYER)
    if layers < 1 or left or [source.name for source in sources] != [f"tensor{n:05}_000" for n in range(len(sources))]:
        raise CheckpointError(
            f"{len(sources)} files are not 2 and 12 for each layer", hint="fetch the release again: one is missing"
        )
    buffers = [find_buffers(source) for source in sources]
    sizes = _measure(sources, buffers)
    specs: list[TensorSpec] = []
    scaled: list[ByteSource] = []
    for number, (name, shape) in enumerate(_list_tensors(layers, sizes)):
        source, found = sources[number], buffers[number]
        nbytes = 4 * math.prod(shape)
        if len(found) == 1 and found[0].length == nbytes:
            specs.append(TensorSpec(name, "F32", shape, number, found[0].offset, nbytes))
        else:
            scaled.append(_Scaled(source, found, shape))
            specs.append(TensorSpec(name, "F32", shape, len(sources) + len(scaled) - 1, 0, nbytes))
    return Checkpoint("Grok-1", [*sources, *scaled], specs)


class Buffer(NamedTuple):
    """A run of bytes inside a pickle."""

    offset: int
    length: int


def find_buffers(source: ByteSource) -> list[Buffer]:
    """Every byte string of more than one byte in a pickle. Raises ``UnsafePickle`` for what arrays do not need."""
    stream: IO[bytes] = io.BufferedReader(_SourceStream(source), 1 << 12)
    found: list[Buffer] = []
    for _ in range(MAX_INSTRUCTIONS):
        name = NAMES.get(stream.read(1), "")
        if name == "STOP":
            if stream.tell() != source.size:
                raise unsafe(source.name, "goes on after its end")
            return found
        if name in BUFFERS:
            length = int.from_bytes(stream.read(BUFFERS[name]), "little")
            buffer = Buffer(stream.tell(), length)
            if buffer.offset + length > source.size:
                raise CheckpointError(f"{source.name}: ends inside of its numbers", hint="fetch the file again")
            found += [buffer] if length > 1 else []
            stream.seek(buffer.offset + length)
        else:
            _skip(source, stream, name)
    raise CheckpointError(f"{source.name}: has more instructions than an array needs")


def _skip(source: ByteSource, stream: IO[bytes], name: str) -> None:
    if name in SKIPPED:
        stream.read(SKIPPED[name])
    elif name in TEXTS:
        length = int.from_bytes(stream.read(TEXTS[name]), "little")
        _check_word(source, stream.read(min(length, MAX_TEXT_BYTES)))
    elif name == "GLOBAL":
        for _ in range(2):
            _check_word(source, stream.readline(MAX_TEXT_BYTES).removesuffix(b"\n"))
    else:
        raise unsafe(source.name, f"uses the instruction {name or 'that is none'}")


def _check_word(source: ByteSource, content: bytes) -> None:
    word = content.decode("utf-8", "replace")
    if word not in WORDS and word.split(".")[0] not in MODULES:
        raise unsafe(source.name, f"names {word[:80]!r}")


class _Sizes(NamedTuple):
    """The sizes of the model, as they follow from the sizes of its files."""

    vocabulary: int
    dim: int
    experts: int
    hidden: int
    queries: int
    keys: int


def _measure(sources: Sequence[ByteSource], buffers: Sequence[Sequence[Buffer]]) -> _Sizes:
    """The sizes that follow from the lengths of the final norm, the embedding, and the first layer's matrices."""
    for source, found in zip(sources, buffers, strict=True):
        if len(found) not in (1, 2):
            raise CheckpointError(f"{source.name}: holds {len(found)} arrays, where one, or one with scales, should be")
    count = [found[0].length for found in buffers]
    dim = count[1] // 4
    experts = count[2 + SLOTS.index("router")] // 4 // max(dim, 1)
    if not dim or not experts:
        raise CheckpointError(f"{sources[1].name}: is too small to be a norm")
    gate, key, query = (count[2 + SLOTS.index(slot)] for slot in ("moe.linear", "attention.key", "attention.query"))
    return _Sizes(count[0] // 4 // dim, dim, experts, gate // dim // experts, query // dim, key // dim)


def _list_tensors(layers: int, sizes: _Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the order of the files."""
    dim, experts, hidden = sizes.dim, sizes.experts, sizes.hidden
    shapes: Mapping[str, tuple[int, ...]] = {
        "moe.linear": (experts, dim, hidden),
        "moe.linear_1": (experts, hidden, dim),
        "moe.linear_v": (experts, dim, hidden),
        "attention.key": (dim, sizes.keys),
        "attention.linear": (sizes.queries, dim),
        "attention.query": (dim, sizes.queries),
        "attention.value": (dim, sizes.keys),
        "router": (dim, experts),
    }
    yield "in_out_embed.weight", (sizes.vocabulary, dim)
    yield "rms_norm.weight", (dim,)
    for layer in sorted(map(str, range(layers))):
        for slot in SLOTS:
            yield f"layers.{layer}.{slot}.weight", shapes.get(slot, (dim,))


class _Scaled:
    """8-bit integers times their scales, as 32-bit floats that are computed when they are read."""

    def __init__(self, source: ByteSource, buffers: Sequence[Buffer], shape: tuple[int, ...]) -> None:
        self.name = source.name
        self.size = 4 * math.prod(shape)
        *self._lead, self._rows, self._columns = (1, *shape)
        scales = buffers[-1].length // 2
        self._blocks, left = divmod(scales, math.prod(self._lead) * self._columns)
        fits = len(shape) >= 2 and len(buffers) == 2 and buffers[0].length == math.prod(shape)
        if not fits or left or not self._blocks or self._rows % self._blocks:
            raise CheckpointError(f"{source.name}: its numbers and scales are not those of a tensor of {list(shape)}")
        self._source, (self._weights, self._scales) = source, buffers

    def read_into(self, offset: int, buffer: memoryview) -> None:
        row = 4 * self._columns
        first, last = offset // row, -(-(offset + len(buffer)) // row)
        start = offset - first * row
        buffer[:] = self._compute(first, last)[start : start + len(buffer)]

    def _compute(self, first: int, last: int) -> memoryview:
        """Rows ``first`` to ``last`` of the tensor, seen as one tall matrix, as 32-bit floats."""
        import numpy as np  # here, so that what needs no arithmetic starts without it

        from magnetar.convert.numbers.recode import decode

        content = read_bytes(self._source, self._weights.offset + first * self._columns, (last - first) * self._columns)
        scales = decode(memoryview(read_bytes(self._source, *self._scales)), "BF16").reshape(-1, self._columns)
        weights = np.frombuffer(content, np.int8).reshape(-1, self._columns)
        block = np.arange(first, last) // (self._rows // self._blocks)
        return (weights * scales[block]).astype("<f4").reshape(-1).view(np.uint8).data

    def close(self) -> None:
        """The checkpoint closes the file that is behind it."""


class _SourceStream(io.RawIOBase):
    """A source as a file of the standard library."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        length = max(min(len(buffer), self._source.size - self._position), 0)
        self._source.read_into(self._position, memoryview(buffer)[:length])
        self._position += length
        return length
