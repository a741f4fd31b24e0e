"""Bytes onto the disk: by the kernel where it can copy between files, else through memory."""

import errno
import os

from magnetar.ranges import FileSpan

LARGEST_CALL = 1 << 30
"""copy_file_range and sendfile move at most 2 GiB less a page at once."""

CANNOT = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EPERM, errno.ENOTSOCK})
"""What a kernel or a file system says that has no such copy between these two files."""

THROUGH_MEMORY = 1 << 20


def copy_span(span: FileSpan, descriptor: int) -> None:
    """Append the bytes of a span to a file. Raises ``OSError``, also if the source ends too early."""
    done = 0
    for copy in (_copy_file_range, _send_file, _copy_through_memory):
        try:
            while done < span.length:
                rest = FileSpan(span.descriptor, span.offset + done, min(span.length - done, LARGEST_CALL))
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


def reserve(descriptor: int, size: int) -> None:
    """Take room for a file before it is written, where the file system can; a full disk is met now, not at the end.

    Raises ``OSError`` if there is no such room.
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
