"""Whole files fetched again by their digests, where no torrent says what their pieces are.

A file is read from a mirror, or from a copy on this machine, into ``.magnetar/repair/``, and takes the place of the
damaged one only after it was read back and every digest was right. What had come when a run was stopped is kept.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event

from magnetar.errors import DiskError, NoSpace, Stalled, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Remarked, Step, ignore
from magnetar.fetch.download.adoptable_files import Candidate, Shelf
from magnetar.fetch.download.disk_checks import check_destination, check_folder, free_bytes
from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed
from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.link.urls import shown
from magnetar.fetch.mirror.read_pieces import Allowance
from magnetar.fetch.mirror.source import Source
from magnetar.fetch.mirror.tar import files_in_tar
from magnetar.fetch.repair.repair_pieces import STAGE
from magnetar.fetch.request.mirrors import FileMirror, named_hosts
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.torrent.file_digests import FileDigests
from magnetar.fetch.torrent.metadata import Metadata, TorrentFile
from magnetar.files import disk_failure, lock_folder, sync_folder
from magnetar.manifests.hashing.digests import CHUNK_BYTES, digest_file, digest_parts
from magnetar.manifests.schema import ReleaseFile

NAP = 0.25  # seconds, while every mirror is to be left alone


@dataclass(frozen=True, slots=True)
class Replaced:
    """Files that took the place of damaged ones, by path, and where their bytes came from."""

    files: tuple[str, ...]
    adopted: int
    downloaded: int


def replace_files(
    folder: Path, files: Sequence[ReleaseFile], options: FetchOptions = DEFAULT_FETCH, emit: Emit = ignore
) -> Replaced:
    """Put whole, proven files in the place of these, and touch no other.

    They come from ``options.adopt``, then from ``options.mirrors``. Raises ``Stalled`` if one cannot be had (the others
    are in place then), ``UsageError`` if something is in the way, ``NoSpace``, ``DiskError`` or ``FolderLocked``.
    """
    with lock_folder(folder) as state:
        run = _Replacing(folder, state / STAGE, files, options, emit)
        with closing(run.client):
            lacking = [file.path for file in files if not run.replace(file)]
        if lacking:
            raise Stalled(
                f"{folder}: nobody served {', '.join(lacking[:3])} as the manifest has it. {run.summary()}".rstrip(),
                hint="name a mirror with --mirror, a copy with --adopt, or a torrent with --torrent",
            )
        shutil.rmtree(state / STAGE, ignore_errors=True)
    return Replaced(tuple(file.path for file in files), run.adopted, run.downloaded)


class _Replacing:
    """One run on one folder."""

    def __init__(
        self, folder: Path, stage: Path, files: Sequence[ReleaseFile], options: FetchOptions, emit: Emit
    ) -> None:
        self._folder = folder
        self._stage = stage
        self._options = options
        self._emit = emit
        self._metadata = _as_metadata(folder.name, files)
        for place in (folder, stage):  # a release may bring links, and nothing is written through them
            check_folder(place)
            check_destination(place, self._metadata)
        self._shelf = Shelf(options.adopt, apart_from=folder)
        self._allowance = Allowance(options.download_limit, Event())
        policy = AddressPolicy(named_hosts(options.mirrors), only_loopback=options.loopback)
        self.client = Client(policy, proxy=options.proxy, interface=options.interface)
        sizes = {file.path: file.size for file in files}
        self._sources = [
            Source(mirror, size, self.client)
            for mirror in self._file_mirrors()
            if (size := sizes.get(mirror.path)) is not None
        ]
        self.adopted = 0
        self.downloaded = 0

    def summary(self) -> str:
        """Why each mirror is asked no more."""
        return "; ".join(f"{source}: {source.dropped}" for source in self._sources if source.dropped)

    def replace(self, file: ReleaseFile) -> bool:
        """Put a file in its place. False if it cannot be had, or could not be proven."""
        if file.size is None or not file.digests:
            return False
        staged = self._stage / file.path
        self._make_room(staged, file.size)
        if not (self._adopt(file, file.size, staged) or self._download(file, file.size, staged)):
            return False
        path = self._folder / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, path)
            sync_folder(path.parent)
        except OSError as error:
            raise disk_failure(error, path) from error
        return True

    def _make_room(self, staged: Path, size: int) -> None:
        lacking = size - _size(staged)
        if lacking > free_bytes(self._folder):
            raise NoSpace(
                f"{self._folder}: a whole file waits beside the damaged one until it is proven, and {lacking:,} more "
                "bytes are not free",
                hint="make space, then run the same command again",
            )
        try:
            staged.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_failure(error, staged.parent) from error

    def _adopt(self, file: ReleaseFile, size: int, staged: Path) -> bool:
        algorithms = [digest.algorithm for digest in file.digests]
        for candidate in self._shelf.candidates(FileDigests(file.path, size, 0, CHUNK_BYTES, b"", ())):
            with suppress(DiskError, UsageError):  # what cannot be read is no candidate
                if digest_parts(candidate.paths, algorithms, lambda _count: None) != file.digests:
                    continue
                self._write(staged, Step.COPY, size, 0, _read(candidate))
                if self._proves(file, staged):
                    self._say(f"{file.path}: adopted from {candidate}")
                    self.adopted += size
                    return True
        return False

    def _download(self, file: ReleaseFile, size: int, staged: Path) -> bool:
        sources = [source for source in self._sources if source.mirror.path == file.path]
        last = time.monotonic()
        while time.monotonic() - last < self._options.stall_timeout and not all(one.dropped for one in sources):
            source = next((one for one in sources if one.usable), None)
            if source is None:
                time.sleep(NAP)
                continue
            before = self.downloaded
            if self._read_from(source, file, size, staged):
                return True
            if self.downloaded > before:
                last = time.monotonic()
        return False

    def _read_from(self, source: Source, file: ReleaseFile, size: int, staged: Path) -> bool:
        """Read a file on from where it is. True if it is whole then, and proven."""
        begin = _size(staged) if _size(staged) <= size else 0
        try:
            self._write(staged, Step.DOWNLOAD, size, begin, source.chunks(begin, size, self._pace, skip=True))
        except (HttpFailed, NotAllowed) as error:
            self._say(source.failed(error))
            return False
        if self._proves(file, staged):
            return True
        if begin == 0:  # it served all of it, and nobody else can be to blame
            self._say(source.drop(f"what it serves as {file.path} is not what the manifest says"))
        return False

    def _write(self, staged: Path, step: Step, size: int, begin: int, chunks: Iterable[bytes]) -> None:
        self._emit(Began(step, size - begin))
        try:
            with staged.open("ab") as stream:
                stream.truncate(begin)
                for chunk in chunks:
                    stream.write(chunk)
                    self._emit(Moved(step, len(chunk)))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise disk_failure(error, staged) from error
        self._emit(Ended(step))

    def _proves(self, file: ReleaseFile, staged: Path) -> bool:
        """Whether the file was read back with every digest right. One that was not goes."""
        self._emit(Began(Step.CHECK, _size(staged)))
        found = digest_file(
            staged, [digest.algorithm for digest in file.digests], lambda count: self._emit(Moved(Step.CHECK, count))
        )
        self._emit(Ended(Step.CHECK))
        if found != file.digests:
            staged.unlink()
        return found == file.digests

    def _pace(self, count: int) -> None:
        self.downloaded += count
        self._allowance.spend(count)

    def _say(self, text: str) -> None:
        if text:
            self._emit(Remarked(text))

    def _file_mirrors(self) -> Iterator[FileMirror]:
        for mirror in self._options.mirrors:
            if isinstance(mirror, FileMirror):
                yield mirror
            elif not mirror.is_archive:
                yield from mirror.files(self._metadata)
            else:
                try:
                    yield from files_in_tar(mirror, self._metadata, self.client, lambda: False)
                except (HttpFailed, NotAllowed) as error:
                    self._say(f"mirror {shown(mirror.url)} is asked no more: {error.message}")


def _as_metadata(name: str, files: Sequence[ReleaseFile]) -> Metadata:
    """The files as mirrors and the checks of a disk take them: a torrent that there is not."""
    listed = tuple(TorrentFile(PurePosixPath(file.path), file.size or 0) for file in files)
    return Metadata(name, "", "", CHUNK_BYTES, 0, listed, (), (), private=True)


def _read(candidate: Candidate) -> Iterator[bytes]:
    with candidate.opened() as source:
        for offset in range(0, source.size, CHUNK_BYTES):
            yield source.read(offset, min(CHUNK_BYTES, source.size - offset))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
