"""Whole files fetched again by their digests, where no torrent says what their pieces are.

A file is read from a mirror, or from a copy on this machine, into ``.magnetar/repair/``. It takes the place of the
damaged one only after it was read back and every digest was right. If a run is stopped, the next one reads on.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event

from magnetar.byte_source import read_bytes
from magnetar.errors import DiskError, NoSpace, Stalled, UsageError
from magnetar.events import Adopted, Began, Emit, Ended, MirrorDropped, Moved, Remarked, Step, ignore
from magnetar.fetch.download.adoptable_files import AdoptableFiles, Candidate
from magnetar.fetch.download.disk_checks import check_destination, check_folder, free_bytes
from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed
from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.mirror.mirror_pool import sort_mirrors
from magnetar.fetch.mirror.mirror_source import MirrorSource, dropped_mirror
from magnetar.fetch.mirror.read_pieces import RateLimit
from magnetar.fetch.mirror.tar import files_in_tar
from magnetar.fetch.repair.repair_pieces import STAGING_FOLDER
from magnetar.fetch.request.mirrors import named_hosts
from magnetar.fetch.request.options import DEFAULT_FETCH, FetchOptions
from magnetar.fetch.torrent.file_digests import FileDigests
from magnetar.fetch.torrent.metadata import Metadata, TorrentFile
from magnetar.files import disk_failure, lock_folder, sync_folder
from magnetar.manifests.hashing.digests import CHUNK_BYTES, digest_file, digest_parts
from magnetar.manifests.schema import ReleaseFile

NAP = 0.25
"""Seconds between two looks, while no mirror may be asked."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The paths of files that took the place of damaged ones, and how many bytes came from copies and from mirrors."""

    files: tuple[str, ...]
    adopted: int
    downloaded: int


def replace_files(
    folder: Path, files: Sequence[ReleaseFile], options: FetchOptions = DEFAULT_FETCH, emit: Emit = ignore
) -> Replaced:
    """Put whole, proven files in the place of ``files``, and touch no other.

    They come from ``options.adopt``, then from ``options.mirrors``. Raises ``Stalled`` if one cannot be had (the others
    are in place then), ``UsageError`` if something is in the way, ``NoSpace``, ``DiskError`` or ``FolderLocked``.
    """
    metadata = _stand_in_metadata(folder.name, files)
    with lock_folder(folder) as state:
        staging = state / STAGING_FOLDER
        for place in (folder, staging):  # a release may bring links, and nothing is written through them
            check_folder(place)
            check_destination(place, metadata)
        policy = AddressPolicy(named_hosts(options.mirrors), only_loopback=options.loopback)
        with closing(Client(policy, proxy=options.proxy, interface=options.interface)) as client:
            sources = _find_sources(metadata, options, client, emit)
            run = _Replacement(folder, staging, sources, options, emit)
            lacking = [file.path for file in files if not run.replace(file)]
        if lacking:
            raise Stalled(
                f"{folder}: nobody served {', '.join(lacking[:3])} as the manifest has it. {run.summary()}".rstrip(),
                hint="name a mirror with --mirror, a copy with --adopt, or a torrent with --torrent",
                paths=tuple(lacking),
            )
        shutil.rmtree(staging, ignore_errors=True)
    return Replaced(tuple(file.path for file in files), run.adopted, run.downloaded)


class _Replacement:
    """One run on one folder. ``adopted`` and ``downloaded`` count bytes."""

    def __init__(
        self, folder: Path, staging: Path, sources: Sequence[MirrorSource], options: FetchOptions, emit: Emit
    ) -> None:
        self._folder = folder
        self._staging = staging
        self._sources = sources
        self._options = options
        self._emit = emit
        self._adoptable = AdoptableFiles(options.adopt, apart_from=folder)
        self._rate = RateLimit(options.download_limit, Event())
        self.adopted = 0
        self.downloaded = 0

    def summary(self) -> str:
        """Why each mirror that was dropped is not asked any more."""
        return "; ".join(f"{source}: {source.dropped}" for source in self._sources if source.dropped)

    def replace(self, file: ReleaseFile) -> bool:
        """Put a file in its place. False if it cannot be had, or could not be proven."""
        if file.size is None or not file.digests:
            return False
        staged = self._staging / file.path
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
        lacking, free = size - _size(staged), free_bytes(self._folder)
        if lacking > free:
            raise NoSpace(
                f"{self._folder}: a whole file waits beside the damaged one until it is proven, and {lacking:,} more "
                "bytes are not free",
                hint="make space, then run the same command again",
                path=staged,
                needed=lacking,
                free=free,
            )
        try:
            staged.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_failure(error, staged.parent) from error

    def _adopt(self, file: ReleaseFile, size: int, staged: Path) -> bool:
        """Copy a file from where the user offers it. True if a copy was found, and proven."""
        algorithms = [digest.algorithm for digest in file.digests]
        for candidate in self._adoptable.candidates(FileDigests(file.path, size, 0, CHUNK_BYTES, b"", ())):
            with suppress(DiskError, UsageError):  # what cannot be read is no candidate
                if digest_parts(candidate.paths, algorithms, lambda _count: None) != file.digests:
                    continue
                self._write(staged, Step.COPY, size, 0, _read_chunks(candidate))
                if self._proves(file, staged):
                    self._emit(Adopted(file.path, str(candidate)))
                    self.adopted += size
                    return True
        return False

    def _download(self, file: ReleaseFile, size: int, staged: Path) -> bool:
        """Read a file from its mirrors, until one has sent all of it, or none has sent a byte for ``stall_timeout``."""
        sources = [source for source in self._sources if source.mirror.path == file.path]
        last = time.monotonic()
        while time.monotonic() - last < self._options.stall_timeout and not all(source.dropped for source in sources):
            usable = next((source for source in sources if source.usable), None)
            if usable is None:
                time.sleep(NAP)
                continue
            before = self.downloaded
            if self._read_from(usable, file, size, staged):
                return True
            if self.downloaded > before:
                last = time.monotonic()
        return False

    def _read_from(self, source: MirrorSource, file: ReleaseFile, size: int, staged: Path) -> bool:
        """Read the rest of a file from a mirror. True if the file is whole then, and proven."""
        begin = _size(staged) if _size(staged) <= size else 0
        try:
            self._write(staged, Step.DOWNLOAD, size, begin, source.chunks(begin, size, self._pace, skip=True))
        except (HttpFailed, NotAllowed) as error:
            self._emit_news(source.failed(error))
            return False
        if self._proves(file, staged):
            return True
        if begin == 0:  # it served the whole file, so nobody else can be to blame
            self._emit_news(source.drop(f"what it serves as {file.path} is not what the manifest says"))
        return False

    def _write(self, staged: Path, step: Step, size: int, begin: int, chunks: Iterable[bytes]) -> None:
        """Write chunks to a file from byte ``begin`` on, up to its ``size``, and make it durable."""
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
        """Read the file back, and say whether every digest is right. If not, it is removed."""
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
        self._rate.spend(count)

    def _emit_news(self, news: MirrorDropped | Remarked | None) -> None:
        if news is not None:
            self._emit(news)


def _find_sources(metadata: Metadata, options: FetchOptions, client: Client, emit: Emit) -> list[MirrorSource]:
    """The mirrors of the files, those inside archives too. An archive that cannot be read is dropped."""
    files, archives = sort_mirrors(options.mirrors, metadata)
    found = list(files)
    for archive in archives:
        try:
            found += files_in_tar(archive, metadata, client, lambda: False)
        except (HttpFailed, NotAllowed) as error:
            emit(dropped_mirror(archive, error.message))
    sizes = {str(file.path): file.size for file in metadata.files}
    return [MirrorSource(mirror, sizes[mirror.path], client) for mirror in found if mirror.path in sizes]


def _stand_in_metadata(name: str, files: Sequence[ReleaseFile]) -> Metadata:
    """Wrap the files in a stand-in ``Metadata``, because mirrors and disk checks expect one. There is no torrent."""
    listed = tuple(TorrentFile(PurePosixPath(file.path), file.size or 0) for file in files)
    return Metadata(name, "", "", CHUNK_BYTES, 0, listed, (), (), private=True)


def _read_chunks(candidate: Candidate) -> Iterator[bytes]:
    with candidate.opened() as source:
        for offset in range(0, source.size, CHUNK_BYTES):
            yield read_bytes(source, offset, min(CHUNK_BYTES, source.size - offset))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
