"""The engine of a conversion: read, check, turn, digest and write in one pass; then read back and compare."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.architecture import DEFAULT_CONTEXT
from magnetar.convert.compare import compare
from magnetar.convert.containers import open_files
from magnetar.convert.conversion import Conversion, WrittenFile, read_conversion, record_conversion
from magnetar.convert.destination import check_destination, check_space, write_whole
from magnetar.convert.plan import DEFAULT_SHARD_SIZE, Plan, Shard, plan_shards
from magnetar.convert.sidefiles import Provenance, conversion_note, for_transformers
from magnetar.convert.source import Source, open_source
from magnetar.convert.stream import stream_pieces
from magnetar.convert.view import map_source
from magnetar.errors import UsageError
from magnetar.events import Began, Emit, Ended, Moved, Remarked, ignore
from magnetar.files import lock_folder
from magnetar.ranges import LocalFile

TARGETS = ("hf",)
NOTE = "CONVERSION.md"
DIGEST_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A file of the result."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A finished conversion. ``layout`` and ``reason`` are of the source.

    ``verified`` says that the result was read back and is bit for bit the source; ``already`` that an earlier run
    had done all, and that every file still has its digest. ``bytes`` are those of the tensors.
    """

    destination: Path
    target: str
    layout: str
    reason: str
    files: tuple[ConvertedFile, ...]
    tensors: int
    bytes: int
    seconds: float
    verified: bool
    already: bool
    notes: tuple[str, ...]


def convert(
    source: Path,
    destination: Path,
    *,
    target: str = "hf",
    from_layout: str | None = None,
    shard_size: int | None = DEFAULT_SHARD_SIZE,
    context_length: int | None = None,
    licence: str = "",
    release: str = "",
    verify: bool = True,
    emit: Emit = ignore,
) -> Converted:
    """Convert the checkpoint at ``source`` into the folder ``destination``, which must be new, empty, or begun by this.

    Every byte is checked against the source's own checksum before the file that it goes to is called finished.
    A run that was interrupted is continued: files that still have their digest are kept. Nothing is ever loaded
    whole. ``licence`` and ``release`` say what the weights are, as far as the caller knows.

    Raises ``UsageError`` (paths, target), ``CheckpointError``, ``UnsafePickle``, ``LayoutError``, ``NoSpace``,
    ``DiskError``, ``FolderLocked``, and ``WrongBytesError`` if what is read back is not the source.
    """
    started = time.monotonic()
    with _open(source, from_layout, context_length) as opened:
        plan = _plan(opened, target, shard_size)
        provenance = Provenance(release, licence)
        digest = plan.digest(opened.checkpoint.specs, target)
        begun = check_destination(source, destination, digest) or Conversion(digest, release, target)
        check_space(destination, _missing_bytes(plan, begun))
        with lock_folder(destination):
            state = replace(read_conversion(destination) or begun, release=release)
            work = _Work(opened, destination, plan, state, emit)
            already = work.finish(provenance, verify)
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
            verified=work.state.compared,
            already=already,
            notes=work.notes,
        )


def plan_conversion(
    source: Path,
    *,
    target: str = "hf",
    from_layout: str | None = None,
    shard_size: int | None = DEFAULT_SHARD_SIZE,
) -> Plan:
    """What ``convert`` would do, with nothing written. Raises what it raises before its first byte."""
    with _open(source, from_layout, None) as opened:
        return _plan(opened, target, shard_size)


class _Work:
    """One conversion under way; ``state`` is what is noted on disk about it."""

    def __init__(self, source: Source, destination: Path, plan: Plan, state: Conversion, emit: Emit) -> None:
        self.source = source
        self.destination = destination
        self.plan = plan
        self.state = state
        self.notes: tuple[str, ...] = ()
        self.emit = emit

    def finish(self, provenance: Provenance, verify: bool) -> bool:
        """Do what is not done yet. Return whether that was nothing."""
        kept = self._check_earlier()
        wrote = self._write_shards(kept)
        if verify and (wrote or not self.state.compared or not self.source.checkpoint.sealed):
            self._compare()
        wrote += self._write_side_files(kept, provenance)
        already = self.state.done and not wrote
        self._note(replace(self.state, done=True))
        return already

    def _note(self, state: Conversion) -> None:
        if state != self.state or not state.done:
            record_conversion(self.destination, state)
        self.state = state

    def _check_earlier(self) -> Mapping[str, WrittenFile]:
        """The files of an earlier run that are still what they were; the others are forgotten."""
        if not self.state.files:
            return {}
        self.emit(Began("check", sum(file.size for file in self.state.files.values())))
        kept = {name: file for name, file in self.state.files.items() if self._is_whole(name, file)}
        self.emit(Ended("check"))
        return kept

    def _is_whole(self, name: str, file: WrittenFile) -> bool:
        path = self.destination / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
            return False
        digest = hashlib.sha256()
        with LocalFile(path) as opened:
            for start in range(0, file.size, DIGEST_CHUNK):
                chunk = opened.read(start, min(DIGEST_CHUNK, file.size - start))
                digest.update(chunk)
                self.emit(Moved("check", len(chunk)))
        return digest.hexdigest() == file.sha256

    def _write_shards(self, kept: Mapping[str, WrittenFile]) -> int:
        """Write the shards that are not there yet; return how many."""
        todo = [shard for shard in self.plan.shards if shard.file not in kept]
        if todo:
            self._note(replace(self.state, files=dict(kept), compared=False, done=False))
        if todo and len(todo) < len(self.plan.shards):
            self.emit(Remarked(f"{len(self.plan.shards) - len(todo)} of {len(self.plan.shards)} files are there"))
        self.emit(Began("convert", sum(shard.payload for shard in todo)))
        for shard in todo:
            written = write_whole(self.destination, shard.file, self._stream(shard))
            self._note(replace(self.state, files={**self.state.files, shard.file: written}))
        self.emit(Ended("convert"))
        return len(todo)

    def _stream(self, shard: Shard) -> Iterator[bytes | memoryview]:
        yield shard.header
        for move in shard.moves:
            for block in stream_pieces(self.source.checkpoint, move.pieces):
                yield block
                self.emit(Moved("convert", len(block)))

    def _compare(self) -> None:
        paths = tuple(self.destination / shard.file for shard in self.plan.shards)
        with open_files(paths) as checkpoint:
            layout = replace(self.source, folder=self.destination, checkpoint=checkpoint, layout="hf")
            compare(self.source, layout, self.emit)
        self._note(replace(self.state, compared=True))

    def _write_side_files(self, kept: Mapping[str, WrittenFile], provenance: Provenance) -> int:
        """Write the small files, the configuration last: without it nothing takes the folder for a model."""
        context = self.source.architecture.context_length or DEFAULT_CONTEXT
        side = for_transformers(self.source, self.plan, context, provenance)
        self.notes = side.notes
        shards = {shard.file: self.state.files[shard.file] for shard in self.plan.shards}
        note = conversion_note(self.source, self.state.target, self.plan, provenance, shards)
        count = 0
        for name, content in ({NOTE: note} | dict(side.contents)).items():
            expected = WrittenFile(len(content), hashlib.sha256(content).hexdigest())
            if kept.get(name) != expected:
                written = write_whole(self.destination, name, [content])
                self._note(replace(self.state, files={**self.state.files, name: written}))
                count += 1
        return count


def _open(source: Path, from_layout: str | None, context_length: int | None) -> Source:
    opened = open_source(source, from_layout=from_layout)
    if context_length is None:
        return opened
    return replace(opened, architecture=replace(opened.architecture, context_length=context_length))


def _plan(source: Source, target: str, shard_size: int | None) -> Plan:
    if target not in TARGETS:
        raise UsageError(f"the target {target!r} is not known", hint=f"known are {', '.join(TARGETS)}")
    moves = map_source(source, "hf")
    size = DEFAULT_SHARD_SIZE if shard_size is None else shard_size
    return Plan(plan_shards(moves, stem="model", shard_size=size, metadata={"format": "pt"}))


def _missing_bytes(plan: Plan, state: Conversion) -> int:
    return sum(shard.nbytes for shard in plan.shards if shard.file not in state.files)
