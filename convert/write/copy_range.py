"""Put bytes on the disk: past the page cache, by a copy inside the kernel where it can, or through memory."""

import errno
import os
from pathlib import Path

from magnetar.byte_source import FileSpan

MAX_CALL_BYTES = 1 << 30
"""copy_file_range and sendfile move at most 2 GiB less a page in one call."""

CANNOT = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EPERM, errno.ENOTSOCK})
"""The errors of a kernel or a file system that has no such copy between two files."""

THROUGH_MEMORY = 1 << 20
"""Bytes in one step of a copy through memory."""


def copy_span(span: FileSpan, descriptor: int) -> None:
    """Append the bytes of a span to an open file. Raises ``OSError``, also if the span's file ends too early."""
    done = 0
    for copy in (_copy_file_range, _send_file, _copy_through_memory):
        try:
            while done < span.length:
                rest = FileSpan(span.descriptor, span.offset + done, min(span.length - done, MAX_CALL_BYTES))
                count = copy(rest, descriptor)
                if count == 0:
                    raise OSError(errno.EIO, "the source ends too early")
                done += count
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno not in CANNOT:
                raise
        else:
            return
    raise OSError(errno.EIO, "the source cannot be copied")


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Append all of it, however many calls that takes. Raises ``OSError``."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all of it at ``offset``, however many calls that takes. Raises ``OSError``.

    If the file system refuses a direct write, the file is written through the page cache from then on.
    """
    while content:
        try:
            count = os.pwrite(descriptor, content, offset)
        except OSError as error:
            if error.errno != errno.EINVAL or not is_direct(descriptor):
                raise
            _leave_direct(descriptor)
        else:
            content, offset = content[count:], offset + count


def open_direct(path: Path, flags: int) -> int:
    """Open a file for writing: past the page cache, if its file system can do that. Raises ``OSError``."""
    flags |= os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL or not hasattr(os, "O_DIRECT"):
            raise
        return os.open(path, flags & ~os.O_EXCL, 0o666)  # a file system may refuse after it made the file


def is_direct(descriptor: int) -> bool:
    """Whether writes to an open file go past the page cache."""
    if not hasattr(os, "O_DIRECT"):
        return False
    import fcntl  # there is none on Windows, nor such files

    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def _leave_direct(descriptor: int) -> None:
    import fcntl

    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)


def reserve(descriptor: int, size: int) -> None:
    """Reserve disk space for a file before it is written, where the file system can.

    Raises ``OSError`` if there is not enough: a full disk is met now, not at the end.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # macOS, Windows
        return
    except OSError as error:
        if error.errno not in CANNOT:
            raise


def _copy_file_range(span: FileSpan, descriptor: int) -> int:
    return os.copy_file_range(span.descriptor, descriptor, span.length, offset_src=span.offset)


def _send_file(span: FileSpan, descriptor: int) -> int:
    return os.sendfile(descriptor, span.descriptor, span.offset, span.length)


def _copy_through_memory(span: FileSpan, descriptor: int) -> int:
    chunk = os.pread(span.descriptor, min(span.length, THROUGH_MEMORY), span.offset)
    write_all(descriptor, chunk)
    return len(chunk)
