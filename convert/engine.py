"""The engine of a conversion: read, check, turn, digest and write in one pass; then read back and compare."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.compare import compare, compare_recoded
from magnetar.convert.containers import open_files
from magnetar.convert.conversion import Conversion, WrittenFile, record_conversion
from magnetar.convert.destination import write_whole
from magnetar.convert.plan import Plan, Shard
from magnetar.convert.provenance import NOTE, Provenance, conversion_note
from magnetar.convert.source import Source
from magnetar.convert.stream import find_spans, is_copy, stream_move
from magnetar.convert.targets import Target
from magnetar.events import Began, Emit, Ended, Moved, Remarked
from magnetar.ranges import FileSpan, LocalFile

DIGEST_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be made of what, and where.

    ``check`` is of the source's checksums and of digests of what is written; ``allow_overflow`` lets numbers become
    infinite in a narrower dtype.
    """

    source: Source
    destination: Path
    target: Target
    plan: Plan
    check: bool = True
    allow_overflow: bool = False


class Work:
    """One conversion under way; ``state`` is what is noted on disk about it."""

    def __init__(self, task: Task, state: Conversion, emit: Emit) -> None:
        self.task = task
        self.state = state
        self.notes: tuple[str, ...] = ()
        self.emit = emit

    def finish(self, provenance: Provenance, verify: bool) -> bool:
        """Do what is not done yet. Return whether that was nothing."""
        kept = self._check_earlier()
        wrote = self._write_shards(kept)
        if verify and (wrote or not self.state.compared or not self.task.source.checkpoint.sealed):
            self._compare()
        wrote += self._write_side_files(kept, provenance)
        already = self.state.done and not wrote
        self._note(replace(self.state, done=True))
        return already

    def _note(self, state: Conversion) -> None:
        if state != self.state or not state.done:
            record_conversion(self.task.destination, state)
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
        path = self.task.destination / name
        if not file.sha256 or path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
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
        todo = [shard for shard in self.task.plan.shards if shard.file not in kept]
        if todo:
            self._note(replace(self.state, files=dict(kept), compared=False, done=False))
        if todo and len(todo) < len(self.task.plan.shards):
            self.emit(
                Remarked(f"{len(self.task.plan.shards) - len(todo)} of {len(self.task.plan.shards)} files are there")
            )
        self.emit(Began("convert", sum(shard.payload for shard in todo)))
        for shard in todo:
            written = write_whole(self.task.destination, shard.file, self._stream(shard), shard.nbytes)
            self._note(replace(self.state, files={**self.state.files, shard.file: written}))
        self.emit(Ended("convert"))
        return len(todo)

    def _stream(self, shard: Shard) -> Iterator[bytes | memoryview | FileSpan]:
        task = self.task
        yield shard.header
        for move in shard.moves:
            content: Iterator[memoryview | FileSpan] = (
                stream_move(
                    task.source.checkpoint, move, check=task.check, allow_overflow=task.allow_overflow, emit=self.emit
                )
                if task.check or not is_copy(task.source.checkpoint, move)
                else find_spans(task.source.checkpoint, move)
            )
            for block in content:
                yield block
                self.emit(Moved("convert", block.length if isinstance(block, FileSpan) else len(block)))
            if shard.padding(move):
                yield bytes(shard.padding(move))

    def _compare(self) -> None:
        """Read the output back through the layout of the source."""
        source, folder = self.task.source, self.task.destination
        compare_with = compare_recoded if self.task.plan.casts else compare
        with open_files([folder / shard.file for shard in self.task.plan.shards]) as checkpoint:
            output = replace(source, folder=folder, checkpoint=checkpoint, layout=self.task.target.layout)
            compare_with(source, output, self.emit)
        self._note(replace(self.state, compared=True))

    def _write_side_files(self, kept: Mapping[str, WrittenFile], provenance: Provenance) -> int:
        """Write the small files, the configuration last: without it nothing takes the folder for a model."""
        side = self.task.target.side_files(self.task.source, self.task.plan, provenance)
        self.notes = side.notes
        shards = {shard.file: self.state.files[shard.file] for shard in self.task.plan.shards}
        note = conversion_note(self.task.source, self.state.target, self.task.plan, provenance, shards)
        count = 0
        for name, content in ({NOTE: note} | dict(side.contents)).items():
            expected = WrittenFile(len(content), hashlib.sha256(content).hexdigest())
            if kept.get(name) != expected:
                written = write_whole(self.task.destination, name, [content])
                self._note(replace(self.state, files={**self.state.files, name: written}))
                count += 1
        return count
