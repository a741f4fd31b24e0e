"""Carry out a conversion: read, check, turn, digest and write in one pass; then read the output back and compare it.

What is said of the result is what this run has read. The journal of an earlier run tells which work need not be done
again; whoever can write into the folder can write the journal too.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event, Lock

from magnetar.byte_source import LocalFolder
from magnetar.convert.compare.digest_tensors import count_workers
from magnetar.convert.compare.read_back import compare, compare_recoded
from magnetar.convert.compare.source_digests import FollowBehind, SourceDigests
from magnetar.convert.formats.detect import open_files
from magnetar.convert.layout.mapping import Move
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.read.uncached_file import UncachedFile
from magnetar.convert.transform.stream import Follow, Scratch, find_spans, is_copy, stream_move
from magnetar.convert.write.destination import partial_path, write_large, write_small
from magnetar.convert.write.journal import Conversion, WrittenFile, record_conversion
from magnetar.convert.write.plan import Plan
from magnetar.convert.write.provenance import NOTE, Provenance, conversion_note
from magnetar.convert.write.resume import Earlier, Missing, check_earlier, list_missing
from magnetar.convert.write.targets import Target
from magnetar.convert.write.writer import Sink
from magnetar.errors import WrongBytesError
from magnetar.events import Began, Emit, Ended, Moved, Resumed, Step
from magnetar.manifests.tensor_digests import TensorDigest
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
    become infinite in a narrower dtype. ``listed`` are the digests that tensors of the source must have, by name;
    ``listed_in`` says in words where they are from.
    """

    source: CheckpointSource
    destination: Path
    target: Target
    plan: Plan
    check: bool = True
    allow_overflow: bool = False
    listed: Mapping[str, TensorDigest] = field(default_factory=dict)
    listed_in: str = ""


class ConversionRun:
    """One conversion under way. The caller holds the lock of the destination.

    ``state`` is what the journal on the disk says of it. After ``finish``, ``digests`` knows which tensors were proven,
    ``compared`` says whether the output was read back, and ``comparing`` how many seconds that took. ``notes`` say in
    words what is missing beside the weights.
    """

    def __init__(self, task: ConversionTask, state: Conversion, emit: Emit) -> None:
        self.task = task
        self.state = state
        self.digests = SourceDigests(task.source.checkpoint, task.listed, task.listed_in)
        self.notes: tuple[str, ...] = ()
        self.compared = False
        self.comparing = 0.0
        self.emit = emit
        self._noting = Lock()
        self._stopped = Event()

    def finish(self, provenance: Provenance, verify: bool) -> bool:
        """Do what is not done yet. Return whether everything was done already.

        Raises what ``carry_out`` raises.
        """
        earlier = check_earlier(self.task.destination, self.state, self.task.plan, self.emit)
        missing = list(list_missing(self.task.plan, earlier))
        if missing:
            self._begin(earlier, missing)
        try:
            self._write_weights(missing, verify)
        except WrongBytesError as error:
            self._distrust(earlier)
            if len(self.digests.wrong) > 1:  # several files are written at once
                raise self.digests.error() from error
            raise
        provenance = replace(provenance, proven=len(self.digests.proven))
        wrote = self._write_side_files(earlier, provenance)
        already = self.state.done and not missing and not wrote
        self._record(replace(self.state, done=True))
        return already

    def _write_weights(self, missing: Sequence[Missing], verify: bool) -> None:
        """Write the missing files of weights, and compare all of them with the source if that is wanted."""
        self.emit(Began(Step.CONVERT, sum(file.payload for file in missing)))
        self._write_files(missing)
        self.emit(Ended(Step.CONVERT))
        if verify:
            self._compare()
        # Without, the tensors in the files of an earlier run are not read, and not counted among the proven ones.
        self.digests.read_again()

    def _distrust(self, earlier: Earlier) -> None:
        """Let the next run write again what holds a wrong tensor; where none is known, all that was there before."""
        wrong = self.digests.wrong
        suspects = {
            shard.file
            for shard in self.task.plan.shards
            if wrong.intersection(segment.tensor for move in shard.moves for segment in move.segments)
            or (not wrong and shard.file in {*earlier.files, *earlier.prefixes})
        }
        files, begun = (
            {name: file for name, file in noted.items() if name not in suspects}
            for noted in (self.state.files, self.state.begun)
        )
        self._record(replace(self.state, files=files, begun=begun, done=False))

    def _record(self, state: Conversion) -> None:
        """Write the journal, unless it says that already."""
        if state != self.state or not state.done:
            record_conversion(self.task.destination, state)
        self.state = state

    def _begin(self, earlier: Earlier, missing: Sequence[Missing]) -> None:
        begun = {file.shard.file: self.state.begun[file.shard.file] for file in missing if file.prefix}
        self._record(replace(self.state, files=dict(earlier.files), begun=begun, done=False))
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
        with ExitStack() as stack:
            follow = stack.enter_context(FollowBehind(self.digests)) if self.task.listed else None
            self._append_all(missing, sink, follow)
            if follow is not None:
                follow.settle()
        if self.task.check:
            checkpoint = self.task.source.checkpoint
            for tensor in {segment.tensor: None for move in missing.shard.moves for segment in move.segments}:
                checkpoint.check(checkpoint.specs[tensor])

    def _append_all(self, missing: Missing, sink: Sink, follow: FollowBehind | None) -> None:
        shard = missing.shard
        if missing.prefix is None:
            sink.append(shard.header)
        scratch, noted = Scratch(), sink.size
        for move in missing.moves:
            self._append(sink, move, scratch, follow)
            sink.append(bytes(shard.padding(move)))
            if self.task.check and sink.size - noted >= JOURNAL_EVERY:
                noted = sink.size
                if follow is not None:
                    follow.settle()  # so that no tensor that is known to be wrong is noted
                self._record_begun(shard.file, sink.settle())

    def _record_begun(self, name: str, written: WrittenFile) -> None:
        with self._noting:
            self._record(replace(self.state, begun={**self.state.begun, name: written}))

    def _append(self, sink: Sink, move: Move, scratch: Scratch, follow: Follow | None) -> None:
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
            follow=follow,
        ):
            sink.append(block)
            self.emit(Moved(Step.CONVERT, len(block)))
            if self._stopped.is_set():
                raise CancelledError

    def _compare(self) -> None:
        """Read the output back from the disk, rearrange it to the layout of the source, and compare the two.

        The source is read too, so that tensors whose digest is still to be compared are digested here.
        """
        started = time.monotonic()
        self.digests.start_over()
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
            compare_with(task.source, output, self.emit, self.digests.follow if self.digests.pending else None)
        self.compared = True
        self.comparing = time.monotonic() - started

    def _write_side_files(self, earlier: Earlier, provenance: Provenance) -> int:
        """Write the small files that are not there yet, and return how many.

        The configuration comes last: without it, no program takes the folder for a model.
        """
        side = self.task.target.side_files(self.task.source, self.task.plan, provenance)
        self.notes = side.notes
        shards = {shard.file: self.state.files[shard.file] for shard in self.task.plan.shards}
        note = conversion_note(self.task.source, self.state.target, self.task.plan, provenance, shards)
        count, contents = 0, {NOTE: note} | dict(side.contents)
        for name, content in contents.items():
            if earlier.files.get(name) != WrittenFile(len(content), hashlib.sha256(content).hexdigest()):
                written = write_small(self.task.destination, name, content)
                self._record(replace(self.state, files={**self.state.files, name: written}))
                count += name != NOTE  # it says what this run proved, which may be less than an earlier one did
        ours = {name: file for name, file in self.state.files.items() if name in shards or name in contents}
        if ours != self.state.files:
            self._record(replace(self.state, files=ours))
        return count
