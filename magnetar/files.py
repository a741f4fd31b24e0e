"""Writing files so that a kill -9 at any moment leaves either the old file or the new one; locks, and stamps."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from magnetar.errors import DiskError, FolderLocked, NoSpace, OutsideError, UsageError

OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

OUTSIDE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.EMFILE, errno.ENFILE),
        *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT),
        *OUT_OF_SPACE,
    }
)
"""What only a missing permission, a limit of the system, or a failing disk explains."""


class Stamp(NamedTuple):
    """What a file system tells of a file that is not read. While all of it is the same, nobody changed the file.

    ``size`` is in bytes, both times are in nanoseconds since 1970. ``modified`` (mtime) is when the content was
    written, and any program may set it. ``changed`` (ctime) is when the file system last changed anything of the file.
    Programs cannot set it, so a file that was copied over this one with the same size and mtime shows here. A new mode,
    owner or hard link changes it too: then the file is read once more than it had to be. On Windows it is the time of
    creation.

    Not shown are: bytes that went bad on the disk, what is written to the disk past the file system, and writes under a
    clock that was set back.
    """

    size: int
    modified: int
    changed: int
    inode: int
    device: int

    def is_settled(self, moment: int) -> bool:
        """Whether each change of the file after ``moment`` (nanoseconds since 1970) gives it another stamp.

        It does not if the file changed so shortly before that the clock of its file system still shows the same time.
        """
        tick = TICK_NS if self.changed % 1_000_000_000 else COARSE_TICK_NS
        return self.modified <= moment - COARSE_TICK_NS and self.changed <= moment - tick


COARSE_TICK_NS = 2_000_000_000
"""Some file systems have times this coarse (FAT: two seconds). They show whole seconds."""

TICK_NS = 100_000_000
"""The others show the time of the kernel's last tick, which is up to 10 ms ago on Linux."""


def stamp(status: os.stat_result) -> Stamp:
    """The stamp of a file of this status."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` atomically and durably; the file's mode follows the umask.

    Raises ``NoSpace`` or ``DiskError``; the old file, if any, is then untouched.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
        temporary = ""
        sync_folder(path.parent)
    except OSError as error:
        raise disk_failure(error, path) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` durable, where the platform can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_failure(error: OSError, path: Path) -> OutsideError:
    """The error to raise for an ``OSError`` at ``path``: ``NoSpace`` or ``DiskError``."""
    reason = error.strerror or str(error)
    if error.errno in OUT_OF_SPACE:
        hint = "make space, then run the same command again"
        return NoSpace(f"{path}: cannot be written: {reason}", hint=hint, path=path)
    return DiskError(f"{path}: {reason}", hint="check that the folder exists and that you may write there", path=path)


def is_path_of(text: str, kind: Callable[[Path], bool]) -> bool:
    """Whether ``kind`` (``Path.is_file``, ``Path.is_dir``) holds of a text that may be no path: a link, a name.

    A link is often longer than a name on a disk can be, and then the system answers with an error.
    """
    try:
        return kind(Path(text))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def outside_failure(error: OSError) -> OutsideError | UsageError | None:
    """The error to show for an ``OSError`` that nobody expected; None if it may be a bug."""
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{str(error.filename)[:200]}: {error.strerror}", hint="check the path")
    if error.errno not in OUTSIDE:
        return None
    if error.errno in OUT_OF_SPACE:
        return disk_failure(error, Path(os.fsdecode(error.filename or "")))
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    hint = "check the disk, its permissions, and how many files may be open (ulimit -n)"
    return DiskError(f"{place}{error.strerror}", hint=hint, path=Path(os.fsdecode(error.filename)) if place else None)


def current_umask() -> int:
    """The process's umask. It is read from the kernel where possible, because ``os.umask`` can only set it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


STATE_FOLDER = ".magnetar"
"""The one hidden folder beside the files in which the state of a download or a conversion lives."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[Path]:
    """Hold ``folder`` for this process, and yield its state folder, made if need be.

    The lock dies with the process, so a kill -9 leaves nothing to clean up.
    Raises ``FolderLocked`` if another process holds it, ``NoSpace`` or ``DiskError``.
    """
    from filelock import FileLock, Timeout  # most commands lock nothing

    state = folder / STATE_FOLDER
    try:
        state.mkdir(parents=True, exist_ok=True)
        if state.is_symlink():
            raise DiskError(f"{state}: is a link, and would lead out of the folder", hint="remove the link", path=state)
        lock = FileLock(state / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise FolderLocked(
            f"{folder}: another process works in this folder",
            hint="wait for it, or stop it, then run this again",
            path=folder,
        ) from None
    except OSError as error:
        raise disk_failure(error, state) from error
    try:
        yield state
    finally:
        lock.release()


@contextmanager
def hold_folder(folder: Path) -> Iterator[bool]:
    """Lock ``folder``, and yield True; or yield False, without a lock, where this process may not write to it.

    Raises as ``lock_folder`` does.
    """
    if not os.access(folder, os.W_OK):
        yield False
    else:
        with lock_folder(folder):
            yield True
