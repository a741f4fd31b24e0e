"""What an earlier run of a conversion left on the disk, checked against the digests in its journal."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from magnetar.byte_source import LocalFile, read_bytes
from magnetar.convert.layout.mapping import Move
from magnetar.convert.write.destination import partial_path
from magnetar.convert.write.journal import Conversion, WrittenFile
from magnetar.convert.write.plan import Plan, Shard
from magnetar.convert.write.writer import Prefix, read_prefix
from magnetar.events import Began, Emit, Ended, Moved, Step


class Earlier(NamedTuple):
    """By name: the files that still have their digest, and the beginnings of files that have theirs."""

    files: Mapping[str, WrittenFile]
    prefixes: Mapping[str, Prefix]


class Missing(NamedTuple):
    """A file to write. Where ``prefix`` is its beginning on the disk, ``moves`` are only the tensors after that."""

    shard: Shard
    moves: tuple[Move, ...]
    prefix: Prefix | None

    @property
    def payload(self) -> int:
        """The bytes of the tensors that are missing."""
        return sum(move.nbytes for move in self.moves)


def check_earlier(folder: Path, state: Conversion, plan: Plan, emit: Emit) -> Earlier:
    """Read what the journal says is there, and leave out what has another digest by now. Raises ``DiskError``.

    A file of weights must also have the size and the header that the plan gives it, since anybody can write a journal.
    Whether its tensors are the right ones is not known by that.
    """
    if not state.files and not state.begun:
        return Earlier({}, {})
    emit(Began(Step.CHECK, sum(file.size for noted in (state.files, state.begun) for file in noted.values())))
    shards = {shard.file: shard for shard in plan.shards}
    files = {name: file for name, file in state.files.items() if _read_noted(folder / name, file, True, emit)}
    begun = {name: _read_noted(partial_path(folder, name), file, False, emit) for name, file in state.begun.items()}
    emit(Ended(Step.CHECK))
    return Earlier(
        {
            name: file
            for name, file in files.items()
            if name not in shards or (file.size == shards[name].nbytes and _has_header(folder / name, shards[name]))
        },
        {
            name: prefix
            for name, prefix in begun.items()
            if prefix and name in shards and _has_header(partial_path(folder, name), shards[name])
        },
    )


def list_missing(plan: Plan, earlier: Earlier) -> Iterator[Missing]:
    """The files that are left to write. A beginning that does not end with a whole tensor is not used."""
    for shard in plan.shards:
        if shard.file in earlier.files:
            continue
        prefix = earlier.prefixes.get(shard.file)
        moves = shard.moves_after(prefix.size) if prefix else None
        yield Missing(shard, shard.moves, None) if moves is None else Missing(shard, moves, prefix)


def _read_noted(path: Path, noted: WrittenFile, whole: bool, emit: Emit) -> Prefix | None:
    """The bytes in the journal, if the file still has them; None if not. A ``whole`` file must have no others."""
    if not noted.sha256 or path.is_symlink() or not path.is_file():
        return None
    size = path.stat().st_size
    if size < noted.size or (whole and size != noted.size):
        return None
    prefix = read_prefix(path, noted.size, lambda count: emit(Moved(Step.CHECK, count)))
    return prefix if prefix.digest.hexdigest() == noted.sha256 else None


def _has_header(path: Path, shard: Shard) -> bool:
    with LocalFile(path) as opened:
        size = len(shard.header)
        return opened.size >= size and read_bytes(opened, 0, size) == shard.header
