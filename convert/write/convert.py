"""Converting a checkpoint: the front door, which holds request, plan, destination and engine together."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.read.source import AS_IS, Source, open_as_it_is, open_source
from magnetar.convert.write.destination import (
    SIDE_FILES_ROOM,
    check_destination,
    check_space,
    free_space,
    nearest_folder,
    space_of_partials,
)
from magnetar.convert.write.engine import Task, Work
from magnetar.convert.write.journal import Conversion, read_conversion
from magnetar.convert.write.plan import Plan
from magnetar.convert.write.provenance import Provenance
from magnetar.convert.write.targets import Target, Wish, find_target, plan_target
from magnetar.events import Emit, ignore
from magnetar.files import lock_folder


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A file of the result."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished conversion. ``layout`` and ``reason`` are of the source.

    ``verified`` says that the result was read back and is bit for bit the source, or, where the numbers are in
    another format, bit for bit what the source's become in that; ``already`` that an earlier run had done all, and
    that every file still has its digest. ``bytes`` are those of the tensors. Of all ``seconds`` the reading back took
    those that are ``comparing``.
    """

    destination: Path
    target: str
    layout: str
    reason: str
    files: tuple[ConvertedFile, ...]
    tensors: int
    bytes: int
    seconds: float
    comparing: float
    verified: bool
    already: bool
    notes: tuple[str, ...]


def convert(
    source: Path,
    destination: Path,
    *,
    target: str = "hf",
    from_layout: str | None = None,
    shard_size: int | None = None,
    dtype: str | None = None,
    allow_overflow: bool = False,
    context_length: int | None = None,
    licence: str = "",
    release: str = "",
    digests: Mapping[str, str] | None = None,
    verify: bool = True,
    check: bool = True,
    emit: Emit = ignore,
) -> Converted:
    """Convert the checkpoint at ``source`` into the folder ``destination``, which must be new, empty, or begun by this.

    Every byte is checked against the source's own checksum before the file that it goes to is called finished.
    A run that was interrupted is continued: files that still have their digest are kept. Nothing is ever loaded
    whole.

    ``target`` is one of ``targets.TARGETS``. ``shard_size`` bounds the bytes of tensors in a file; None is the
    target's own choice. ``dtype``, such as ``"f16"``, writes the numbers in another format; it is an error if some
    are too large for it, unless ``allow_overflow``. ``licence``, ``release`` and ``digests`` (of the source's files,
    by name) say what the weights are, as far as the caller knows. ``verify`` reads the output back. ``check=False``
    leaves out the source's checksums and the digests of the output, so that the kernel can copy; a file without a
    digest is never called done, and is written again by the next run.

    Raises ``UsageError`` (paths, target, dtype), ``CheckpointError``, ``UnsafePickle``, ``LayoutError``,
    ``ConversionError`` (overflow), ``NoSpace``, ``DiskError``, ``FolderLocked``, and ``WrongBytesError`` if what is
    read back is not the source.
    """
    started = time.monotonic()
    chosen = find_target(target)
    with _open(source, chosen, from_layout, context_length) as opened:
        plan = _plan(opened, chosen, shard_size, dtype)
        digest = plan.digest(opened.checkpoint.specs, target)
        begun = check_destination(source, destination, digest) or Conversion(digest, release, target)
        check_space(destination, _missing_bytes(plan, begun, destination))
        with lock_folder(destination):
            state = replace(read_conversion(destination) or begun, release=release)
            work = Work(Task(opened, destination, chosen, plan, check, allow_overflow), state, emit)
            already = work.finish(Provenance(release, licence, digests or {}), verify)
        files = tuple(ConvertedFile(name, file.size, file.sha256) for name, file in sorted(work.state.files.items()))
        return Converted(
            destination=destination,
            target=target,
            layout=opened.layout,
            reason=opened.reason,
            files=files,
            tensors=plan.tensors,
            bytes=plan.payload,
            seconds=time.monotonic() - started,
            comparing=work.comparing,
            verified=work.state.compared,
            already=already,
            notes=work.notes,
        )


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that would be written, of ``size`` bytes."""

    path: str
    size: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a conversion would do. ``layout`` and ``reason`` are of the source.

    ``turned`` tensors do not go over as they are. ``missing`` is what it would still take of the disk, ``free`` what
    that has, ``memory`` what it would take at most, all in bytes. ``steps`` says of every file and tensor what it is
    made of.
    """

    destination: Path
    target: str
    layout: str
    reason: str
    files: tuple[PlannedFile, ...]
    tensors: int
    turned: int
    missing: int
    free: int
    memory: int
    steps: tuple[str, ...]


def plan_conversion(
    source: Path,
    destination: Path,
    *,
    target: str = "hf",
    from_layout: str | None = None,
    shard_size: int | None = None,
    dtype: str | None = None,
) -> Forecast:
    """What ``convert`` would do, with nothing written. Raises what it raises before its first byte, but ``NoSpace``."""
    chosen = find_target(target)
    with _open(source, chosen, from_layout, None) as opened:
        plan = _plan(opened, chosen, shard_size, dtype)
        digest = plan.digest(opened.checkpoint.specs, target)
        begun = check_destination(source, destination, digest) or Conversion(digest, "", target)
        return Forecast(
            destination=destination,
            target=target,
            layout=opened.layout,
            reason=opened.reason,
            files=tuple(PlannedFile(shard.file, shard.nbytes, len(shard.moves)) for shard in plan.shards),
            tensors=plan.tensors,
            turned=plan.turned,
            missing=_missing_bytes(plan, begun, destination) + SIDE_FILES_ROOM,
            free=free_space(nearest_folder(destination)),
            memory=plan.peak_memory,
            steps=tuple(plan.lines()),
        )


def _open(source: Path, target: Target, from_layout: str | None, context_length: int | None) -> Source:
    if target.layout == AS_IS:
        return open_as_it_is(source)
    opened = open_source(source, from_layout=from_layout)
    if context_length is None:
        return opened
    return replace(opened, stated=replace(opened.architecture, context_length=context_length))


def _plan(source: Source, target: Target, shard_size: int | None, dtype: str | None) -> Plan:
    return plan_target(source, target, Wish(shard_size, dtype.upper() if dtype else None))


def _missing_bytes(plan: Plan, state: Conversion, destination: Path) -> int:
    missing = sum(shard.nbytes for shard in plan.shards if shard.file not in state.files)
    return max(missing - space_of_partials(destination), 0)
