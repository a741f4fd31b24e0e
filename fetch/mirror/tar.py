"""Finding the files of a release inside an uncompressed tar that lies on a mirror, by reading its headers only."""

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import PurePosixPath

from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.request.mirrors import FileMirror, ReleaseMirror
from magnetar.fetch.torrent.metadata import Metadata

MAX_MEMBERS = 20_000
"""Members of a tar that are looked at."""
HEADER = 512
"""Bytes of a tar header. Every member begins at a multiple of it."""


def files_in_tar(
    mirror: ReleaseMirror, metadata: Metadata, client: Client, stopped: Callable[[], bool]
) -> tuple[FileMirror, ...]:
    """The mirror of each file of the release that the tar holds: same size, same path, below one top folder or none.

    ``stopped`` is asked at each member whether to give up. Raises ``HttpFailed``, ``NotAllowed``.
    """
    sizes = {file.path: file.size for file in metadata.files}
    found: dict[PurePosixPath, FileMirror] = {}
    for path, offset, size in _members(RangedFile(mirror.url, client), stopped):
        for candidate in (path, PurePosixPath(*path.parts[1:])):
            if sizes.get(candidate) == size:
                found.setdefault(candidate, FileMirror(str(candidate), mirror.url, offset, named=mirror.named))
        if len(found) == len(sizes):
            break
    if not found:
        raise HttpFailed("the tar holds no file of the release")
    return tuple(found.values())


def _members(file: "RangedFile", stopped: Callable[[], bool]) -> Iterator[tuple[PurePosixPath, int, int]]:
    """Path, offset and size of each plain file in a tar."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count > MAX_MEMBERS or stopped():
                    raise HttpFailed(f"the tar has more than {MAX_MEMBERS} members")
                if member.isreg() and not member.issparse():
                    yield PurePosixPath(member.name), member.offset_data, member.size
    except (tarfile.TarError, UnicodeError, ValueError) as error:
        raise HttpFailed(f"is no tar that can be read: {error}") from error


class RangedFile(io.RawIOBase):
    """A resource behind a URL, as a file to seek in. Each read is a request: meant for headers, not for payload."""

    def __init__(self, url: str, client: Client) -> None:
        self._url = url
        self._client = client
        self._position = 0
        with closing(client.get(url, 0, HEADER - 1)) as answer:
            if answer.total is None or not answer.partial:
                raise HttpFailed("is served without ranges, which finding a file in a tar needs")
            self._size = answer.total

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        count = max(0, min(size if size >= 0 else self._size, self._size - self._position, 1 << 20))
        if count == 0:
            return b""
        with closing(self._client.get(self._url, self._position, self._position + count - 1)) as answer:
            content = b"".join(answer.chunks(count))
        self._position += count
        return content
