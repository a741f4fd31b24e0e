"""Where a conversion may write, and how: not into other folders, not through links, and no file half."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from magnetar.convert.read.find_weights import name_weights
from magnetar.convert.write.copy_range import open_direct, reserve, write_all
from magnetar.convert.write.journal import Conversion, WrittenFile, read_conversion
from magnetar.convert.write.writer import Prefix, Sink
from magnetar.errors import NoSpace, UsageError
from magnetar.files import STATE_FOLDER, disk_failure, sync_folder

PARTIAL = ".partial"
SIDE_FILES_ROOM = 16 << 20
"""Bytes that are reserved for the tokenizer, the index and the notes beside the weights."""

BLOCK = 512
"""Bytes: the unit of ``st_blocks``."""

WIDENED = 256
"""GGUF stores norms and routers in 32 bits. That adds less than one byte to so many."""


def check_destination(source: Path, destination: Path, plan_digest: str) -> Conversion | None:
    """Check that the conversion may write there. Return the journal of an earlier run of the same one, if any.

    Raises ``UsageError`` if the destination is a link, a file, the source or a folder in it, or holds other files or
    another conversion.
    """
    if destination.is_symlink():
        raise UsageError(f"{destination}: is a link", hint="name the folder that it leads to")
    if destination.exists() and not destination.is_dir():
        raise UsageError(f"{destination}: is a file, not a folder", hint="choose a new folder")
    folder = (source if source.is_dir() else source.parent).resolve()
    if destination.resolve() == folder or (source.is_dir() and folder in destination.resolve().parents):
        raise UsageError(
            f"{destination}: lies in the source, which must stay as it was published", hint="choose a folder beside it"
        )
    earlier = read_conversion(destination)
    if earlier is None and destination.is_dir() and _holds_files(destination):
        raise UsageError(
            f"{destination}: is not empty, and was not made by a conversion", hint="choose a new or an empty folder"
        )
    if earlier is not None and earlier.plan != plan_digest:
        raise UsageError(
            f"{destination}: holds another conversion{f' of {earlier.release}' if earlier.release else ''}, "
            f"to {earlier.target}",
            hint="choose another folder, or remove that one",
        )
    return earlier


def _holds_files(folder: Path) -> bool:
    try:
        return any(path.name != STATE_FOLDER for path in folder.iterdir())
    except OSError as error:
        raise disk_failure(error, folder) from error


def check_space(destination: Path, needed: int) -> None:
    """Raise ``NoSpace`` if fewer than ``needed`` bytes, and those for side files, are free there."""
    free = free_space(nearest_folder(destination))
    if needed and free < needed + SIDE_FILES_ROOM:
        raise NoSpace(
            f"{destination}: {needed + SIDE_FILES_ROOM:,} bytes are needed, {free:,} are free",
            hint="make space, or choose a folder on another disk",
            path=destination,
            needed=needed + SIDE_FILES_ROOM,
            free=free,
        )


def forecast_room(sizes: Mapping[str, int], destination: Path) -> int:
    """About how many bytes of disk the conversion of a release will still take; rather too many than too few.

    ``sizes`` are those of the release's files, by name. The files need not be there yet. Raises ``DiskError``.
    """
    state = read_conversion(destination)
    weights = sum(sizes[name] for name in name_weights(sizes))
    if not weights or (state is not None and state.done):
        return 0
    try:
        there = sum(path.lstat().st_size for path in destination.rglob("*") if path.is_file())
    except OSError as error:
        raise disk_failure(error, destination) from error
    return max(weights + weights // WIDENED + SIDE_FILES_ROOM - there, 0)


def space_of_partials(destination: Path) -> int:
    """The disk space of files that an earlier run did not finish. They will be continued or removed."""
    try:
        return sum(path.lstat().st_blocks * BLOCK for path in (destination / STATE_FOLDER).glob(f"*{PARTIAL}"))
    except AttributeError:  # Windows does not say
        return 0
    except OSError as error:
        raise disk_failure(error, destination) from error


def nearest_folder(path: Path) -> Path:
    """The folder itself if it exists, else the nearest folder above it that does."""
    return next(folder for folder in (path, *path.resolve().parents) if folder.is_dir())


def free_space(folder: Path) -> int:
    """The bytes that this user can still write in ``folder``."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise disk_failure(error, folder) from error


def write_small(folder: Path, name: str, content: bytes) -> WrittenFile:
    """Write a file atomically and durably. Its mode follows the umask.

    Raises ``NoSpace`` or ``DiskError``; then nothing is left behind.
    """
    partial = partial_path(folder, name)
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, folder / name)
        sync_folder(folder)
    except OSError as error:
        raise disk_failure(error, folder / name) from error
    finally:
        partial.unlink(missing_ok=True)
    return WrittenFile(len(content), hashlib.sha256(content).hexdigest())


def write_large(
    folder: Path, name: str, size: int, fill: Callable[[Sink], None], *, digested: bool, prefix: Prefix | None = None
) -> WrittenFile:
    """Write a file of ``size`` bytes atomically and durably; ``fill`` appends the bytes. Its mode follows the umask.

    The file grows in the hidden state folder, and is moved to its place at the end. Its disk space is reserved first.
    ``digested`` takes a SHA-256 of what is appended; it is not read back. ``prefix`` is a beginning that an earlier run
    wrote, and that is kept.
    Raises ``NoSpace`` or ``DiskError``, and whatever ``fill`` raises; what was written until then stays in the state
    folder.
    """
    partial = partial_path(folder, name)
    try:
        if prefix is None:
            partial.unlink(missing_ok=True)
        descriptor = open_direct(partial, 0 if prefix else os.O_CREAT | os.O_EXCL)
        try:
            reserve(descriptor, size)
            with Sink(descriptor, prefix, digested=digested) as sink:
                fill(sink)
                written = sink.finish()
        finally:
            os.close(descriptor)
        os.replace(partial, folder / name)
        sync_folder(folder)
    except OSError as error:
        raise disk_failure(error, folder / name) from error
    return written


def partial_path(folder: Path, name: str) -> Path:
    """Where a file grows until it is whole."""
    return folder / STATE_FOLDER / (name + PARTIAL)
