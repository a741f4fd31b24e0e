"""The engine of a conversion: read, check, turn, digest and write in one pass; then read back and compare."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Lock

from magnetar.byte_source import LocalFolder
from magnetar.convert.compare.read_back import compare, compare_recoded
from magnetar.convert.compare.tensor_digests import count_workers
from magnetar.convert.formats.detect import open_files
from magnetar.convert.layout.mapping import Move
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.read.uncached_file import UncachedFile
from magnetar.convert.transform.stream import Scratch, find_spans, is_copy, stream_move
from magnetar.convert.write.destination import partial_path, write_large, write_small
from magnetar.convert.write.journal import Conversion, WrittenFile, record_conversion
from magnetar.convert.write.plan import Plan
from magnetar.convert.write.provenance import NOTE, Provenance, conversion_note
from magnetar.convert.write.resume import Missing, check_earlier, list_missing
from magnetar.convert.write.targets import Target
from magnetar.convert.write.writer import Sink
from magnetar.events import Began, Emit, Ended, Moved, Remarked, Step
from magnetar.parallel import work_in_parallel

NOTE_EVERY = 2 << 30
"""Bytes of a file after which it is noted how far it is; a run that is killed has so many to do again."""

WORTH_A_WRITER = 1 << 30
"""Bytes of work that make it worth while to write one more file at once."""

THREADS_OF_A_WRITER = 2
"""What one file keeps busy: one thread reads, checks and turns, another digests. The third waits for the disk."""


@dataclass(frozen=True, slots=True)
class ConversionTask:
    """What is to be made of what, and where.

    ``check`` is of the source's checksums and of digests of what is written; ``allow_overflow`` lets numbers become
    infinite in a narrower dtype.
    """

    source: CheckpointSource
    destination: Path
    target: Target
    plan: Plan
    check: bool = True
    allow_overflow: bool = False


class ConversionRun:
    """One conversion under way; ``state`` is what is noted on disk about it.

    ``notes`` are what is to be said of the result; ``comparing`` is how many seconds the reading back took.
    """

    def __init__(self, task: ConversionTask, state: Conversion, emit: Emit) -> None:
        self.task = task
        self.state = state
        self.notes: tuple[str, ...] = ()
        self.comparing = 0.0
        self.emit = emit
        self._noting = Lock()
        self._stopped = Event()

    def finish(self, provenance: Provenance, verify: bool) -> bool:
        """Do what is not done yet. Return whether that was nothing."""
        earlier = check_earlier(self.task.destination, self.state, self.emit)
        missing = list(list_missing(self.task.plan, earlier))
        if missing:
            self._begin(earlier.files, missing)
        self.emit(Began(Step.CONVERT, sum(each.payload for each in missing)))
        self._write_shards(missing)
        self.emit(Ended(Step.CONVERT))
        if verify and (missing or not self.state.compared or not self.task.source.checkpoint.sealed):
            self._compare()
        wrote = self._write_side_files(earlier.files, provenance)
        already = self.state.done and not missing and not wrote
        self._note(done=True)
        return already

    def _note(self, **changes: object) -> None:
        state = replace(self.state, **changes)  # type: ignore[arg-type]  # the names are those of its fields
        if state != self.state or not state.done:
            record_conversion(self.task.destination, state)
        self.state = state

    def _begin(self, kept: Mapping[str, WrittenFile], missing: Sequence[Missing]) -> None:
        begun = {each.shard.file: self.state.begun[each.shard.file] for each in missing if each.prefix}
        self._note(files=dict(kept), begun=begun, compared=False, done=False)
        total = len(self.task.plan.shards)
        if len(missing) < total or begun:
            beginning = f", and {sum(file.size for file in begun.values()):,} bytes of the next" if begun else ""
            self.emit(Remarked(f"{total - len(missing)} of {total} files are there{beginning}"))

    def _write_shards(self, missing: Sequence[Missing]) -> None:
        """Write files, several at once where there are processors for it; after an error, or Ctrl-C, all stop."""
        workers = self._count_writers(missing)
        if workers == 1:
            for each in missing:
                self._write(each)
            return
        work_in_parallel(self._write, missing, workers, self._stopped)

    def _count_writers(self, missing: Sequence[Missing]) -> int:
        processors = (os.cpu_count() or 1) // THREADS_OF_A_WRITER
        worth = sum(each.payload for each in missing) // WORTH_A_WRITER
        memory = count_workers([move for each in missing for move in each.moves])
        return max(min(processors, worth, memory, len(missing)), 1)

    def _write(self, missing: Missing) -> None:
        folder, name = self.task.destination, missing.shard.file
        try:
            written = write_large(
                folder,
                name,
                missing.shard.nbytes,
                partial(self._fill, missing),
                digested=self.task.check,
                prefix=missing.prefix,
            )
        except BaseException:
            if name not in self.state.begun:
                partial_path(folder, name).unlink(missing_ok=True)
            raise
        with self._noting:
            begun = {other: file for other, file in self.state.begun.items() if other != name}
            self._note(files={**self.state.files, name: written}, begun=begun)

    def _fill(self, missing: Missing, sink: Sink) -> None:
        """Append what is missing of a file, and see that every byte that it is made of was checked."""
        shard, check = missing.shard, self.task.check
        if missing.prefix is None:
            sink.append(shard.header)
        scratch, noted = Scratch(), sink.size
        for move in missing.moves:
            self._append(sink, move, scratch)
            sink.append(bytes(shard.padding(move)))
            if check and sink.size - noted >= NOTE_EVERY:
                noted = sink.size
                self._note_begun(shard.file, sink.settle())
        if check:
            checkpoint = self.task.source.checkpoint
            for tensor in {segment.tensor: None for move in shard.moves for segment in move.segments}:
                checkpoint.check(checkpoint.specs[tensor])

    def _note_begun(self, name: str, written: WrittenFile) -> None:
        with self._noting:
            self._note(begun={**self.state.begun, name: written})

    def _append(self, sink: Sink, move: Move, scratch: Scratch) -> None:
        task, checkpoint = self.task, self.task.source.checkpoint
        if not task.check and not sink.direct and is_copy(checkpoint, move):
            for span in find_spans(checkpoint, move):
                sink.copy(span)
                self.emit(Moved(Step.CONVERT, span.length))
            return
        for block in stream_move(
            checkpoint,
            move,
            check=task.check,
            defer=True,
            allow_overflow=task.allow_overflow,
            emit=self.emit,
            scratch=scratch,
            lend=sink.lend,
        ):
            sink.append(block)
            self.emit(Moved(Step.CONVERT, len(block)))
            if self._stopped.is_set():
                raise CancelledError

    def _compare(self) -> None:
        """Read the output back, from the disk, through the layout of the source."""
        started = time.monotonic()
        source, folder = self.task.source, self.task.destination
        compare_with = compare_recoded if self.task.plan.casts else compare
        files = tuple(shard.file for shard in self.task.plan.shards)
        written = LocalFolder(folder, UncachedFile)
        with open_files(written, files) as checkpoint:
            output = replace(
                source, folder=written, files=files, checkpoint=checkpoint, layout=self.task.target.layout, path=folder
            )
            compare_with(source, output, self.emit)
        self._note(compared=True)
        self.comparing = time.monotonic() - started

    def _write_side_files(self, kept: Mapping[str, WrittenFile], provenance: Provenance) -> int:
        """Write the small files, the configuration last: without it nothing takes the folder for a model."""
        side = self.task.target.side_files(self.task.source, self.task.plan, provenance)
        self.notes = side.notes
        shards = {shard.file: self.state.files[shard.file] for shard in self.task.plan.shards}
        note = conversion_note(self.task.source, self.state.target, self.task.plan, provenance, shards)
        count = 0
        for name, content in ({NOTE: note} | dict(side.contents)).items():
            if kept.get(name) != WrittenFile(len(content), hashlib.sha256(content).hexdigest()):
                written = write_small(self.task.destination, name, content)
                self._note(files={**self.state.files, name: written})
                count += 1
        return count
