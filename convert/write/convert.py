"""Convert a checkpoint: plan what will be written, then carry the plan out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from magnetar.byte_source import closing_on_error
from magnetar.convert.compare.source_digests import find_comparable
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, open_as_it_is, open_source
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.destination import (
    SIDE_FILES_ROOM,
    check_destination,
    check_space,
    free_space,
    nearest_folder,
    space_of_partials,
)
from magnetar.convert.write.engine import ConversionRun, ConversionTask
from magnetar.convert.write.journal import Conversion, read_conversion
from magnetar.convert.write.provenance import Provenance
from magnetar.convert.write.targets import TargetOptions, find_target, plan_target
from magnetar.events import Emit, ignore
from magnetar.files import lock_folder
from magnetar.manifests.tensor_digests import TensorDigest


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A file of the result. ``sha256`` is lower-case hex; empty if no digest was taken."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished conversion.

    ``layout`` and ``reason`` are the source's layout and why it is that one. ``tensors`` and ``bytes`` count what was
    written, without headers and side files. ``seconds`` is the wall time of everything; ``comparing`` of them went
    into reading the output back.

    ``verified``: in this run the output was read back, and every tensor is bit for bit the source's; where the numbers
    are in another format, bit for bit what the source's numbers become in that format. ``already``: nothing was left to
    write, and every file has the digest that the journal beside it notes. Anybody can write a journal, so that alone
    proves nothing. ``notes`` say in words what is missing beside the weights.

    ``listed`` counts the tensors of the source that ``listed_in``, a manifest, lists a digest for; 0 where there is no
    manifest, or the source has another layout. ``proven`` of them were read in this run, and have these digests.
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
    proven: int = 0
    listed: int = 0
    listed_in: str = ""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that would be written, of ``size`` bytes."""

    path: str
    size: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a conversion would do.

    ``layout`` and ``reason`` are the source's layout and why it is that one. The numbers of ``turned`` tensors change
    their order. ``missing`` is the disk space that is still needed, ``free`` the space that there is, ``memory`` the
    most that it would take, all in bytes. ``steps`` is a line of text for every file and every tensor.
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


@dataclass(frozen=True, slots=True)
class PlannedConversion:
    """A conversion that is ready to be carried out. It holds the source open until it is closed.

    ``state`` is what an earlier run of the same conversion noted, or a new note. Planning took ``seconds``.
    """

    request: ConvertRequest
    task: ConversionTask
    state: Conversion
    seconds: float

    @property
    def missing_bytes(self) -> int:
        """What the weights will still take of the disk, going by the notes of the earlier run."""
        missing = sum(shard.nbytes for shard in self.task.plan.shards if shard.file not in self.state.files)
        return max(missing - space_of_partials(self.request.destination), 0)

    def forecast(self) -> Forecast:
        """What ``carry_out`` would do."""
        source, plan = self.task.source, self.task.plan
        return Forecast(
            destination=self.request.destination,
            target=self.request.target,
            layout=source.layout,
            reason=source.reason,
            files=tuple(PlannedFile(shard.file, shard.nbytes, len(shard.moves)) for shard in plan.shards),
            tensors=plan.tensors,
            turned=plan.turned,
            missing=self.missing_bytes + SIDE_FILES_ROOM,
            free=free_space(nearest_folder(self.request.destination)),
            memory=plan.peak_memory,
            steps=tuple(plan.lines()),
        )

    def close(self) -> None:
        self.task.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def convert(request: ConvertRequest, emit: Emit = ignore) -> Converted:
    """Convert a checkpoint: ``plan`` and ``carry_out`` in a row, raising what they raise."""
    with plan(request) as planned:
        return carry_out(planned, emit)


def forecast(request: ConvertRequest) -> Forecast:
    """What ``convert`` would do. Nothing is written. Raises what ``plan`` raises."""
    with plan(request) as planned:
        return planned.forecast()


def plan(request: ConvertRequest) -> PlannedConversion:
    """Open the source, check every name and shape, and lay out the files to write. Nothing is written.

    Raises ``UsageError`` (paths, target, dtype), ``CheckpointError``, ``UnsafePickle``, ``LayoutError`` or
    ``OutsideError``; ``WrongBytesError`` if the source has other tensors than the request's ``tensors`` lists.
    """
    started = time.monotonic()
    target = find_target(request.target)
    source = _open(request, as_it_is=target.layout == AS_IS)
    with closing_on_error([source]):
        options = TargetOptions(request.shard_size, request.dtype.upper() if request.dtype else None)
        files = plan_target(source, target, options)
        digest = files.digest(source.checkpoint.specs, request.target)
        earlier = check_destination(request.source, request.destination, digest)
        state = earlier or Conversion(digest, request.release, request.target)
        task = ConversionTask(
            source=source,
            destination=request.destination,
            target=target,
            plan=files,
            check=request.check,
            allow_overflow=request.allow_overflow,
            listed=_listed(request, source),
            listed_in=request.listed_in,
        )
        return PlannedConversion(request, task, state, time.monotonic() - started)


def carry_out(planned: PlannedConversion, emit: Emit = ignore) -> Converted:
    """Write what was planned, in memory that does not grow with the model.

    Every byte is checked against the source's own checksum before its file counts as finished, and every tensor against
    the digest that is listed for it. A run that was interrupted is continued: files that still have their digest are
    kept, and their tensors are read only to compare them.

    Raises ``NoSpace``, ``DiskError``, ``FolderLocked``, ``CheckpointError`` (a damaged source), ``ConversionError``
    (overflow), and ``WrongBytesError`` if a tensor has not its listed digest, or what is read back is not the source.
    """
    started = time.monotonic()
    request, task = planned.request, planned.task
    check_space(request.destination, planned.missing_bytes)
    with lock_folder(request.destination):
        # another process may have worked here until it gave up the lock
        state = replace(read_conversion(request.destination) or planned.state, release=request.release)
        run = ConversionRun(task, state, emit)
        already = run.finish(Provenance(request.release, request.licence, listed_in=request.listed_in), request.verify)
    files = tuple(ConvertedFile(name, file.size, file.sha256) for name, file in sorted(run.state.files.items()))
    return Converted(
        destination=request.destination,
        target=request.target,
        layout=task.source.layout,
        reason=task.source.reason,
        files=files,
        tensors=task.plan.tensors,
        bytes=task.plan.payload,
        seconds=planned.seconds + time.monotonic() - started,
        comparing=run.comparing,
        verified=run.compared,
        already=already,
        notes=run.notes,
        proven=len(run.digests.proven),
        listed=len(request.tensors.tensors) if request.tensors and task.listed else 0,
        listed_in=request.listed_in if task.listed else "",
    )


def _listed(request: ConvertRequest, source: CheckpointSource) -> Mapping[str, TensorDigest]:
    """The digests that can be compared as the source is read. Raises ``WrongBytesError``."""
    if request.tensors is None or not request.check:
        return {}
    return find_comparable(source, request.tensors, request.listed_in)


def _open(request: ConvertRequest, *, as_it_is: bool) -> CheckpointSource:
    if as_it_is:
        return open_as_it_is(request.source)
    source = open_source(request.source, from_layout=request.from_layout)
    if request.context_length is None:
        return source
    return replace(source, stated=replace(source.architecture, context_length=request.context_length))
