"""Carry out a conversion: read, check, turn, digest and write in one pass; then read the output back and compare it."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Lock

from magnetar.byte_source import LocalFolder
from magnetar.convert.compare.digest_tensors import count_workers
from magnetar.convert.compare.read_back import compare, compare_recoded
from magnetar.convert.formats.detect import open_files
from magnetar.convert.layout.mapping import Move
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.read.uncached_file import UncachedFile
from magnetar.convert.transform.stream import Scratch, find_spans, is_copy, stream_move
from magnetar.convert.write.destination import partial_path, write_large, write_small
from magnetar.convert.write.journal import Conversion, WrittenFile, record_conversion
from magnetar.convert.write.plan import Plan
from magnetar.convert.write.provenance import NOTE, Provenance, conversion_note
from magnetar.convert.write.resume import Earlier, Missing, check_earlier, list_missing
from magnetar.convert.write.targets import Target
from magnetar.convert.write.writer import Sink
from magnetar.events import Began, Emit, Ended, Moved, Resumed, Step
from magnetar.parallel import work_in_parallel

JOURNAL_EVERY = 2 << 30
"""Bytes of a file after which the journal notes how far it is. A run that is killed has at most so many to do again."""

MIN_BYTES_PER_WRITER = 1 << 30
"""For less work it is not worth while to write one more file at once."""

THREADS_OF_A_WRITER = 2
"""What one file keeps busy: one thread reads, checks and turns, another digests. The third waits for the disk."""


@dataclass(frozen=True, slots=True)
class ConversionTask:
    """What is written from which source, and where.

    ``check``: compare the source's checksums, and take digests of what is written. ``allow_overflow``: let numbers
    become infinite in a narrower dtype.
    """

    source: CheckpointSource
    destination: Path
    target: Target
    plan: Plan
    check: bool = True
    allow_overflow: bool = False


class ConversionRun:
    """One conversion under way. The caller holds the lock of the destination.

    ``state`` is what the journal on the disk says of it. After ``finish``, ``notes`` say in words what is missing
    beside the weights, and ``comparing`` is how many seconds the reading back took.
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
        """Do what is not done yet. Return whether everything was done already.

        Raises what ``carry_out`` raises.
        """
        earlier = check_earlier(self.task.destination, self.state, self.emit)
        missing = list(list_missing(self.task.plan, earlier))
        if missing:
            self._begin(earlier, missing)
        self.emit(Began(Step.CONVERT, sum(file.payload for file in missing)))
        self._write_files(missing)
        self.emit(Ended(Step.CONVERT))
        # Where the source has no checksums, its numbers may have changed since they were compared.
        if verify and (missing or not self.state.compared or not self.task.source.checkpoint.sealed):
            self._compare()
        wrote = self._write_side_files(earlier, provenance)
        already = self.state.done and not missing and not wrote
        self._record(replace(self.state, done=True))
        return already

    def _record(self, state: Conversion) -> None:
        """Write the journal, unless it says that already."""
        if state != self.state or not state.done:
            record_conversion(self.task.destination, state)
        self.state = state

    def _begin(self, earlier: Earlier, missing: Sequence[Missing]) -> None:
        begun = {file.shard.file: self.state.begun[file.shard.file] for file in missing if file.prefix}
        self._record(replace(self.state, files=dict(earlier.files), begun=begun, compared=False, done=False))
        total = self.task.plan.payload
        done = total - sum(file.payload for file in missing)
        if done:
            self.emit(Resumed(Step.CONVERT, done, total))

    def _write_files(self, missing: Sequence[Missing]) -> None:
        """Write files, several at once where there are processors for it. After an error or Ctrl-C, all stop."""
        workers = self._count_writers(missing)
        if workers == 1:
            for file in missing:
                self._write_file(file)
            return
        work_in_parallel(self._write_file, missing, workers, self._stopped)

    def _count_writers(self, missing: Sequence[Missing]) -> int:
        by_processors = (os.cpu_count() or 1) // THREADS_OF_A_WRITER
        by_work = sum(file.payload for file in missing) // MIN_BYTES_PER_WRITER
        by_memory = count_workers([move for file in missing for move in file.moves])
        return max(min(by_processors, by_work, by_memory, len(missing)), 1)

    def _write_file(self, missing: Missing) -> None:
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
            self._record(replace(self.state, files={**self.state.files, name: written}, begun=begun))

    def _fill(self, missing: Missing, sink: Sink) -> None:
        """Append what is missing of a file. At the end, every byte of the source that went into it was checked."""
        shard, check = missing.shard, self.task.check
        if missing.prefix is None:
            sink.append(shard.header)
        scratch, noted = Scratch(), sink.size
        for move in missing.moves:
            self._append(sink, move, scratch)
            sink.append(bytes(shard.padding(move)))
            if check and sink.size - noted >= JOURNAL_EVERY:
                noted = sink.size
                self._record_begun(shard.file, sink.settle())
        if check:
            checkpoint = self.task.source.checkpoint
            for tensor in {segment.tensor: None for move in shard.moves for segment in move.segments}:
                checkpoint.check(checkpoint.specs[tensor])

    def _record_begun(self, name: str, written: WrittenFile) -> None:
        with self._noting:
            self._record(replace(self.state, begun={**self.state.begun, name: written}))

    def _append(self, sink: Sink, move: Move, scratch: Scratch) -> None:
        """Append one tensor: by the kernel where nothing has to look at its bytes, else through memory."""
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
        """Read the output back from the disk, rearrange it to the layout of the source, and compare the two."""
        started = time.monotonic()
        task, folder = self.task, LocalFolder(self.task.destination, UncachedFile)
        files = tuple(shard.file for shard in task.plan.shards)
        compare_with = compare_recoded if task.plan.casts else compare
        with open_files(folder, files) as checkpoint:
            output = CheckpointSource(
                folder=folder,
                files=files,
                checkpoint=checkpoint,
                stated=task.source.stated,
                layout=task.target.layout,
                reason="it was written so",
                path=task.destination,
            )
            compare_with(task.source, output, self.emit)
        self._record(replace(self.state, compared=True))
        self.comparing = time.monotonic() - started

    def _write_side_files(self, earlier: Earlier, provenance: Provenance) -> int:
        """Write the small files that are not there yet, and return how many.

        The configuration comes last: without it, no program takes the folder for a model.
        """
        side = self.task.target.side_files(self.task.source, self.task.plan, provenance)
        self.notes = side.notes
        shards = {shard.file: self.state.files[shard.file] for shard in self.task.plan.shards}
        note = conversion_note(self.task.source, self.state.target, self.task.plan, provenance, shards)
        count = 0
        for name, content in ({NOTE: note} | dict(side.contents)).items():
            if earlier.files.get(name) != WrittenFile(len(content), hashlib.sha256(content).hexdigest()):
                written = write_small(self.task.destination, name, content)
                self._record(replace(self.state, files={**self.state.files, name: written}))
                count += 1
        return count
