"""Files that the user offers for adoption, found by their size, by their root, or as parts of a whole file."""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from magnetar.byte_source import FileBacked, JoinedFiles, LocalFile
from magnetar.errors import TorrentError, UsageError
from magnetar.fetch.download.state_folder import read_kept_torrent
from magnetar.fetch.torrent.file_digests import FileDigests
from magnetar.fetch.torrent.metainfo import file_digests
from magnetar.files import STATE_FOLDER

_PART = re.compile(r"(?P<whole>.+?)[-._](?:split|part|chunk)?[-._]?(?P<number>\d{1,6})")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible copy of a file: one file, or the parts that make it, in order."""

    paths: tuple[Path, ...]

    @contextmanager
    def opened(self) -> Iterator[FileBacked]:
        """Its bytes, as one source. Raises ``UsageError`` or ``DiskError``."""
        with ExitStack() as stack:
            parts = [stack.enter_context(LocalFile(path)) for path in self.paths]
            yield parts[0] if len(parts) == 1 else JoinedFiles(self.paths[0].name, parts)

    def __str__(self) -> str:
        more = f" and {len(self.paths) - 1} more parts" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}"


class AdoptableFiles:
    """The plain files below some folders. Links to files are followed, as reading does no harm; links to folders not.

    ``apart_from`` is a folder to leave out. Raises ``UsageError`` if one of ``places`` does not exist.
    """

    def __init__(self, places: Iterable[Path], *, apart_from: Path) -> None:
        self._by_size: dict[int, list[Path]] = defaultdict(list)
        self._by_root: dict[bytes, Path] = {}
        self._parts: dict[tuple[Path, str], list[tuple[int, Path, int]]] = defaultdict(list)
        for place in places:
            for path in _files(place, apart_from.resolve()):
                self._add(path)
            self._read_roots(place)

    def candidates(self, file: FileDigests) -> Iterator[Candidate]:
        """The possible copies of ``file``, the likeliest first."""
        if file.root in self._by_root:
            yield Candidate((self._by_root[file.root],))
        name = Path(file.path).name
        for path in sorted(self._by_size.get(file.size, ()), key=lambda path: path.name != name):
            yield Candidate((path,))
        for (_folder, whole), parts in self._parts.items():
            if whole == name and _make_whole(parts, file.size):
                yield Candidate(tuple(path for _, path, _ in sorted(parts)))

    def _add(self, path: Path) -> None:
        try:
            found = path.stat()
        except OSError:
            return
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return
        self._by_size[found.st_size].append(path)
        part = _PART.fullmatch(path.name)
        if part:
            self._parts[path.parent, part["whole"]].append((int(part["number"]), path, found.st_size))

    def _read_roots(self, folder: Path) -> None:
        """Find files by the roots in an older version's own torrent. They are checked all the same."""
        try:
            kept = list(file_digests(read_kept_torrent(folder)))
        except TorrentError:
            return
        self._by_root |= {file.root: folder / file.path for file in kept if file.root and file.size}


def _files(place: Path, apart_from: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise UsageError(f"{place}: there is no such file or folder to adopt from", hint="check the path")
    for folder, below, names in os.walk(place):
        below[:] = sorted(name for name in below if name != STATE_FOLDER and Path(folder, name).resolve() != apart_from)
        if Path(folder).resolve() != apart_from:
            yield from (Path(folder, name) for name in sorted(names))


def _make_whole(parts: list[tuple[int, Path, int]], size: int) -> bool:
    """Whether the parts are numbered without a gap, from 0 or 1, and have the size together."""
    numbers = sorted(number for number, _, _ in parts)
    return (
        numbers[0] <= 1
        and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        and sum(length for _, _, length in parts) == size
    )
