"""The files that ``torch.save`` wrote from 0.1.10 to 1.5: five pickles, then each storage after its length."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec, check_name
from magnetar.convert.formats.pickle_reader import MAX_PICKLE_BYTES, Value, read_pickle, unsafe
from magnetar.convert.formats.state_dict import Storage, StoredTensor, read_leading_state_dict
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

LEGACY_PICKLE = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""The instruction LONG1 with torch's magic number, which the first pickle holds."""

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
USUAL_PICKLES = 2 << 20
"""Bytes that are read first; they hold all five pickles of most files."""

LENGTH = 8
"""Bytes of the count of elements before each storage."""


class _Preamble(NamedTuple):
    """What the five pickles say. ``keys`` lists the storages in order; ``end`` is where the pickles end."""

    tensors: Mapping[str, StoredTensor]
    storages: Mapping[str, Storage]
    keys: Value
    end: int


def read_legacy(source: ByteSource) -> Checkpoint:
    """The tensors of one file. The format has no checksums, so only structure, sizes and bounds are checked.

    Raises ``CheckpointError`` or ``UnsafePickle``.
    """
    try:
        preamble = _read_preamble(source, read_bytes(source, 0, min(source.size, USUAL_PICKLES)))
    except CheckpointError:
        if source.size <= USUAL_PICKLES:
            raise
        preamble = _read_preamble(source, read_bytes(source, 0, min(source.size, MAX_PICKLE_BYTES)))
    offsets = _find_storages(source, preamble.keys, preamble.storages, preamble.end)
    return Checkpoint("torch, before 1.6", [source], _describe(source, preamble.tensors, offsets))


def _read_preamble(source: ByteSource, content: bytes) -> _Preamble:
    nothing = _RefuseEverything(source.name)
    position = 0
    values = []
    for _ in range(3):
        value, length = read_pickle(content[position:], nothing, source.name, may_go_on=True)
        values.append(value)
        position += length
    _check_first_values(source, values)
    tensors, storages, length = read_leading_state_dict(content[position:], source.name)
    position += length
    keys, length = read_pickle(content[position:], nothing, source.name, may_go_on=True)
    return _Preamble(tensors, storages, keys, position + length)


class _RefuseEverything:
    """The resolver of pickles of plain values: it knows no names."""

    def __init__(self, where: str) -> None:
        self.where = where

    def find(self, name: str) -> Value:
        raise unsafe(self.where, f"names {name.replace(' ', '.')[:200]!r}")

    def load(self, persistent_id: Value) -> Value:
        raise unsafe(self.where, "refers to something outside where there is nothing")

    def call(self, function: Value, arguments: Value) -> Value:
        raise unsafe(self.where, "calls something where there is nothing to call")


def _check_first_values(source: ByteSource, values: list[Value]) -> None:
    magic, protocol, system = values
    if magic != MAGIC or protocol != PROTOCOL or type(system) is not dict:
        raise CheckpointError(f"{source.name}: does not begin as torch's files before 1.6 do")
    if system.get("little_endian") is not True:
        raise CheckpointError(f"{source.name}: its tensors are big-endian, which is not supported")


def _find_storages(
    source: ByteSource, keys: Value, storages: Mapping[str, Storage], position: int
) -> Mapping[str, int]:
    """Where the bytes of each storage begin. Together the storages must fill the rest of the file."""
    if type(keys) is not list or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise CheckpointError(f"{source.name}: its list of storages is not that of its tensors")
    offsets = {}
    for key in keys:
        storage = storages[key]
        if position + LENGTH + storage.nbytes > source.size:
            missing = position + LENGTH + storage.nbytes - source.size
            raise CheckpointError(
                f"{source.name}: at least {missing:,} bytes are missing at its end: it has {source.size:,}",
                hint="the download did not end; fetch it again",
            )
        count = int.from_bytes(read_bytes(source, position, LENGTH), "little")
        if count * DTYPES[storage.dtype].itemsize != storage.nbytes:
            raise CheckpointError(
                f"{source.name}: the storage {key[:80]} has {count} elements; its tensors say otherwise"
            )
        offsets[key] = position + LENGTH
        position += LENGTH + storage.nbytes
    if position != source.size:
        raise CheckpointError(f"{source.name}: goes on for {source.size - position} bytes after its last storage")
    return offsets


def _describe(
    source: ByteSource, tensors: Mapping[str, StoredTensor], offsets: Mapping[str, int]
) -> Iterator[TensorSpec]:
    for name, tensor in tensors.items():
        check_name(name, source.name)
        offset = offsets[tensor.storage.key] + tensor.offset
        yield TensorSpec(name, tensor.dtype, tensor.shape, 0, offset, tensor.nbytes)
