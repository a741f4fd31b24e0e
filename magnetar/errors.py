"""The one tree of errors, and the exit code that each branch gives.

::

    MagnetarError
    ├── UsageError           2  an option, a missing path, an unknown name
    ├── MalformedError       3  a manifest, magnet link, torrent or configuration file
    │   ├── ManifestError
    │   ├── MagnetError
    │   └── TorrentError
    ├── OutsideError         4  the world outside failed
    │   ├── MetadataTimeout     no peer sent the metadata in time
    │   ├── Stalled             no payload arrived in time
    │   ├── NoSpace             the disk is full, or would be
    │   ├── DiskError           the disk refused
    │   ├── FolderLocked        another process works in the folder
    │   └── RankLost            another process of the same boot is gone
    ├── WrongBytesError      5  these are not the bytes
    ├── ConversionError      6  cannot convert
    │   ├── UnsafePickle        the pickle names something that is not a tensor
    │   ├── CheckpointError     the container is damaged, hostile, or unknown
    │   └── LayoutError         names or shapes are not those of a layout that we know
    └── BootError            7  the weights do not boot

Anything else that escapes is a bug, and shows its traceback.

Some errors carry data as attributes beside the message, so that a caller need not read the message. Such an attribute
is None (or empty) where whoever raised the error did not know it.
"""

from enum import IntEnum
from pathlib import Path
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process tells its caller."""

    GOOD = 0
    BUG = 1
    USAGE = 2
    MALFORMED = 3
    OUTSIDE = 4
    WRONG_BYTES = 5
    CANNOT_CONVERT = 6
    UNHEALTHY = 7
    NOT_ALL_CHECKED = 8
    INTERRUPTED = 130
    TERMINATED = 143


class MagnetarError(Exception):
    """Something that a caller may expect to go wrong.

    ``message`` says what was wrong, with which file or tensor. ``hint`` says what to do next.
    Both may quote foreign text, so they must be escaped before they are shown.
    """

    exit_code: ClassVar[ExitCode]

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MagnetarError):
    """The request itself is wrong: an option, a missing path, an unknown name."""

    exit_code = ExitCode.USAGE


class MalformedError(MagnetarError):
    """A manifest, magnet link, torrent or configuration file is malformed, unsafe or unknown."""

    exit_code = ExitCode.MALFORMED


class ManifestError(MalformedError):
    """A manifest cannot be read, or says something unsafe. ``path`` is its file, ``key`` the key at fault."""

    def __init__(self, message: str, *, hint: str = "", path: Path | None = None, key: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.key = key


class MagnetError(MalformedError):
    """A magnet link names no torrent, even after healing."""


class TorrentError(MalformedError):
    """A torrent's metadata is damaged, unsafe, or not what was pinned. ``path`` is the ``.torrent`` file, if any."""

    def __init__(self, message: str, *, hint: str = "", path: Path | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class OutsideError(MagnetarError):
    """The world outside failed: network, disk, another process."""

    exit_code = ExitCode.OUTSIDE


class MetadataTimeout(OutsideError):
    """No peer sent the torrent's metadata in time.

    ``infohash`` is the torrent's, in hex. ``waited`` is in seconds. ``peers`` is the largest number of peers that were
    connected at the same time.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        infohash: str = "",
        waited: float | None = None,
        peers: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.infohash = infohash
        self.waited = waited
        self.peers = peers


class Stalled(OutsideError):
    """No payload arrived for too long.

    ``waited`` is in seconds. ``missing`` of the ``total`` bytes of payload had not arrived. ``paths`` are the files
    that could not be had, where files are fetched one by one.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        waited: float | None = None,
        missing: int | None = None,
        total: int | None = None,
        paths: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.waited = waited
        self.missing = missing
        self.total = total
        self.paths = paths


class NoSpace(OutsideError):
    """The disk is full, or would be before the work ends.

    ``path`` is the file or folder to write. ``needed`` is how many bytes the work takes there, and ``free`` how many
    the disk has, or, where a single file would be too large, how many a file may have.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        path: Path | None = None,
        needed: int | None = None,
        free: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.needed = needed
        self.free = free


class DiskError(OutsideError):
    """The file system refused to read or write ``path``."""

    def __init__(self, message: str, *, hint: str = "", path: Path | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class FolderLocked(OutsideError):
    """Another process works in the folder ``path``."""

    def __init__(self, message: str, *, hint: str = "", path: Path | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class RankLost(OutsideError):
    """Another process of the same boot cannot be reached, or has ended. ``rank`` is its rank."""

    def __init__(self, message: str, *, hint: str = "", rank: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.rank = rank


class WrongBytesError(MagnetarError):
    """These are not the bytes that they should be. ``paths`` are the files that hold wrong bytes."""

    exit_code = ExitCode.WRONG_BYTES

    def __init__(self, message: str, *, hint: str = "", paths: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.paths = paths


class ConversionError(MagnetarError):
    """The checkpoint cannot be converted.

    ``path`` is the file at fault, or its name in the folder that was opened; ``tensor`` is the name of the tensor. None
    and empty where the fault is not about one file, or one tensor.
    """

    exit_code = ExitCode.CANNOT_CONVERT

    def __init__(self, message: str, *, hint: str = "", path: Path | None = None, tensor: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.tensor = tensor


class UnsafePickle(ConversionError):
    """A pickle names something that a state dict does not need. It was not executed."""


class CheckpointError(ConversionError):
    """A checkpoint's container is damaged, hostile, or of an unknown kind."""


class LayoutError(ConversionError):
    """Names, shapes or dtypes are not those of a layout that we know."""


class BootError(MagnetarError):
    """The weights do not boot, or boot and are not healthy.

    Where there is too little memory, ``needed`` and ``limit`` are in bytes.
    """

    exit_code = ExitCode.UNHEALTHY

    def __init__(self, message: str, *, hint: str = "", needed: int | None = None, limit: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.limit = limit
