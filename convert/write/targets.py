"""The targets of a conversion (``--to``), as data: a layout, its container, and the small files beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from magnetar.convert.layout.mapping import Move
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, FLOATS, READABLE_FLOATS
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource
from magnetar.convert.transform.view import map_source, unpack_blocks
from magnetar.convert.write.gguf_target import cast_for_llama, for_llama_cpp, pack_gguf
from magnetar.convert.write.plan import DEFAULT_SHARD_SIZE, Plan, Shard, plan_shards
from magnetar.convert.write.provenance import Provenance, record_provenance
from magnetar.convert.write.side_files import SideFiles, for_any_tool, for_the_publishers_code, for_transformers
from magnetar.errors import UsageError


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What can be asked of a target. ``shard_size`` is in bytes of tensors; None: the target's own choice.

    ``dtype`` is spelled in capitals, as in safetensors or GGUF; None: numbers are kept as they are, where possible.
    """

    shard_size: int | None = None
    dtype: str | None = None


class Pack(Protocol):
    """How a target puts tensors into files. ``record`` goes into their metadata.

    Raises ``UsageError`` for options that the target cannot fulfil.
    """

    def __call__(
        self, source: CheckpointSource, moves: tuple[Move, ...], options: TargetOptions, record: Mapping[str, str], /
    ) -> tuple[Shard, ...]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A layout, how its tensors are put into files, and the files beside them.

    ``cast`` says in which dtype a tensor is written, if a dtype was asked for, or none.
    """

    name: str
    layout: str
    cast: Callable[[Move, str | None], Move]
    pack: Pack
    side_files: Callable[[CheckpointSource, Plan, Provenance], SideFiles]


def plan_target(source: CheckpointSource, target: Target, options: TargetOptions) -> Plan:
    """The files to write. Raises ``UsageError`` for options that the target cannot fulfil, or ``LayoutError``."""
    moves = tuple(target.cast(move, options.dtype) for move in map_source(source, target.layout))
    record = record_provenance(source.checkpoint.specs, moves, target.name)
    return Plan(target.pack(source, moves, options, record))


def _cast_floats(move: Move, dtype: str | None) -> Move:
    """Floats become ``dtype``, integers are kept. Quantised blocks become floats: safetensors cannot hold them."""
    if dtype is None:
        return unpack_blocks(move)
    if dtype not in FLOATS:
        raise UsageError(f"the dtype {dtype.lower()!r} is not known", hint=f"known are {_list_names(FLOATS)}")
    return move.to_dtype(dtype) if move.dtype in READABLE_FLOATS or move.dtype in BLOCK_FORMATS else move


def _list_names(dtypes: tuple[str, ...]) -> str:
    return ", ".join(dtype.lower() for dtype in dtypes)


def _pack_shards(
    metadata: Mapping[str, str],
    source: CheckpointSource,
    moves: tuple[Move, ...],
    options: TargetOptions,
    record: Mapping[str, str],
) -> tuple[Shard, ...]:
    size = DEFAULT_SHARD_SIZE if options.shard_size is None else options.shard_size
    return plan_shards(moves, stem="model", shard_size=size, metadata={**metadata, **record})


def _pack_as_the_library(
    source: CheckpointSource, moves: tuple[Move, ...], options: TargetOptions, record: Mapping[str, str]
) -> tuple[Shard, ...]:
    """Exactly the bytes of ``safetensors.save_file(tensors, path)``, so there is no metadata."""
    return _pack_shards({}, source, moves, options, {})


def _pack_one_file(
    source: CheckpointSource, moves: tuple[Move, ...], options: TargetOptions, record: Mapping[str, str]
) -> tuple[Shard, ...]:
    """mistral-inference reads one file of this name, and no shards."""
    if options.shard_size is not None:
        raise UsageError("the target mistral is one file", hint="leave the shard size out")
    return plan_shards(moves, stem="consolidated", shard_size=None, metadata={"format": "pt", **record})


def _pack_gguf(
    source: CheckpointSource, moves: tuple[Move, ...], options: TargetOptions, record: Mapping[str, str]
) -> tuple[Shard, ...]:
    return pack_gguf(source, moves, options.shard_size, record)


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("hf", "hf", _cast_floats, partial(_pack_shards, {"format": "pt"}), for_transformers),
        Target("mistral", "mistral", _cast_floats, _pack_one_file, for_the_publishers_code),
        Target("gguf", "gguf", cast_for_llama, _pack_gguf, for_llama_cpp),
        Target("mlx", "mlx", _cast_floats, partial(_pack_shards, {"format": "mlx"}), for_transformers),
        Target("safetensors", AS_IS, _cast_floats, _pack_as_the_library, for_any_tool),
    )
}


def find_target(name: str) -> Target:
    """The target of that name. Raises ``UsageError`` with a list of all targets if there is none."""
    if name not in TARGETS:
        raise UsageError(f"the target {name!r} is not known", hint=f"known are {', '.join(TARGETS)}")
    return TARGETS[name]
