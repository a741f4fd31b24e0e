"""What must be true of the disk before the first byte is written; the errors say what is wrong with numbers."""

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.fetch.torrent.metadata import Metadata, case_collisions
from magnetar.files import STATE_FOLDER, disk_failure

MAX_FAT_FILE_BYTES = (1 << 32) - 1
"""The size of the largest file on FAT32."""

_FAT = frozenset({"vfat", "msdos"})


def check_folder(folder: Path) -> None:
    """Raise ``DiskError`` if ``folder`` is a link, or ``UsageError`` if something else than a folder has its name."""
    if folder.is_symlink():
        raise DiskError(
            f"{folder}: is a symbolic link, and the download would be written through it",
            hint="name the folder that it leads to with --dir",
            path=folder,
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{folder}: is not a folder, and the release needs that name", hint="move it away, or use --dir"
        )


def check_destination(folder: Path, metadata: Metadata) -> None:
    """Raise ``DiskError`` or ``UsageError`` if a payload path leads through a link, or onto no plain file."""
    checked: set[Path] = set()
    for file in metadata.files:
        path = folder / file.path
        for above in path.relative_to(folder).parents:
            if folder / above not in checked and folder / above != folder:
                _check_kind(folder / above, stat.S_ISDIR)
                checked.add(folder / above)
        _check_kind(path, stat.S_ISREG)
    collisions = case_collisions(metadata)
    if collisions and (folder / STATE_FOLDER.upper()).exists():
        raise DiskError(
            f"{folder}: this file system takes {collisions[0]!r} and another file of the release for the same",
            hint="fetch to a file system that tells upper from lower case",
            path=folder / collisions[0],
        )


def check_space(folder: Path, metadata: Metadata, besides: int = 0) -> None:
    """Raise ``NoSpace`` unless what is still missing fits: each file by itself, and all of it with ``besides`` bytes
    more.
    """
    largest = max(metadata.files, key=lambda file: file.size)
    limit, reason = _largest_file(folder)
    if largest.size > limit:
        raise NoSpace(
            f"{largest.path}: has {largest.size:,} bytes, and {reason} {limit:,}",
            hint="choose another file system with --dir",
            path=folder / largest.path,
            needed=largest.size,
            free=limit,
        )
    missing, free = missing_bytes(folder, metadata), free_bytes(folder)
    if missing + besides > free:
        more = f" and {besides:,} will be needed for the converted copy" if besides else ""
        raise NoSpace(
            f"{folder}: {missing:,} bytes are still to come{more}, and only {free:,} are free",
            hint=f"make {missing + besides - free:,} bytes of space, or choose another disk with --dir",
            path=folder,
            needed=missing + besides,
            free=free,
        )


def missing_bytes(folder: Path, metadata: Metadata) -> int:
    """Disk space that the files would still take, in bytes."""
    return sum(max(0, file.size - _allocated(folder / file.path)) for file in metadata.files)


def free_bytes(folder: Path) -> int:
    """Bytes free where ``folder`` is, or would be made. Raises ``DiskError``."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        return shutil.disk_usage(there).free
    except OSError as error:
        raise disk_failure(error, there) from error


def part_hard_links(folder: Path, paths: Iterable[str]) -> None:
    """Replace each file that has other hard links by a copy, so that writing to it does not change them.

    Raises ``NoSpace`` or ``DiskError``.
    """
    for path in (folder / path for path in paths):
        try:
            if path.exists() and path.lstat().st_nlink > 1:
                apart = path.with_name(f".{path.name[:200]}.apart")
                apart.unlink(missing_ok=True)
                shutil.copy2(path, apart)
                os.replace(apart, path)
        except OSError as error:
            raise disk_failure(error, path) from error


def settle_sizes(folder: Path, metadata: Metadata) -> None:
    """Bring files to their sizes, after every piece was found good: make empty ones, and cut off surplus bytes.

    Raises ``DiskError`` if a file still has another size, which another program must have caused.
    """
    for file in metadata.files:
        path = folder / file.path
        try:
            if file.size == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            if _size(path) > file.size:
                part_hard_links(folder, [str(file.path)])
                os.truncate(path, file.size)
        except OSError as error:
            raise disk_failure(error, path) from error
        if _size(path) != file.size:
            raise DiskError(
                f"{path}: has {_size(path):,} bytes, not {file.size:,}, although each was good when it was checked",
                hint="another program may work in this folder; run the same command again",
                path=path,
            )


def any_payload(folder: Path, metadata: Metadata) -> bool:
    """Whether there is anything on disk to check."""
    return any(file.size and _size(folder / file.path) > 0 for file in metadata.files)


def _check_kind(path: Path, is_right: Callable[[int], bool]) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk_failure(error, path) from error
    if stat.S_ISLNK(mode):
        raise DiskError(
            f"{path}: is a symbolic link, and what it leads to is not ours to write",
            hint="put a file in its place, or work in another folder",
            path=path,
        )
    if not is_right(mode):
        raise UsageError(f"{path}: is in the way of a file of the release", hint="move it away, or use --dir")


def _largest_file(folder: Path) -> tuple[int, str]:
    """The size of the largest file that can be written here, in bytes, and the words for what limits it."""
    limits = [(MAX_FAT_FILE_BYTES, "the file system allows")] if _file_system(folder) in _FAT else []
    try:
        import resource

        soft, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if soft != resource.RLIM_INFINITY:
            limits.append((soft, "this process may write"))
    except ImportError:  # not on Windows
        pass
    return min(limits, default=((1 << 63) - 1, "a file can have"))


def _file_system(folder: Path) -> str:
    """The kind of file system (``vfat``, ``ext4``), where the kernel tells; else empty."""
    found = ("", "")
    try:
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _device, point, kind, *_ = line.split()
            if folder.resolve().is_relative_to(point) and len(point) > len(found[0]):
                found = (point, kind)
    except (OSError, ValueError):
        return ""
    return found[1]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def _allocated(path: Path) -> int:
    """Bytes that the file has on disk: less than its size where it has holes."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    return min(found.st_size, getattr(found, "st_blocks", found.st_size) * 512)
