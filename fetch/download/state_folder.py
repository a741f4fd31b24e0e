"""What a release's ``.magnetar`` folder remembers: its torrent, and how far a download came.

========================  ==============================================================================================
``origin.json``           which torrent the folder is of (``magnetar.manifests.folder.origin``)
``release.torrent``       the torrent's metadata, so that it is never fetched twice
``resume``                the session's account: which pieces it has, and hashes that peers sent
``stamps.json``           the ``Stamp`` of every file when the account was written, and how many hard links it had. It
                          exists only after a clean stop, and only with it is the account believed
``.*.parts``              bytes of files that were left out, where a piece reaches from them into a wanted file
========================  ==============================================================================================
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import TorrentError, UsageError
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.torrent.metadata import Metadata, check_same
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER, disk_failure, replace_file, stamp
from magnetar.manifests.folder.layout import KEPT_TORRENT
from magnetar.manifests.folder.origin import Origin, read_origin, record_origin

RESUME_FILE = "resume"
STAMPS_FILE = "stamps.json"
MAX_STATE_BYTES = 4 << 30
"""The account of a version 2 torrent holds 2 MB of hashes for each GB of payload."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of the release in ``folder``; ``metadata`` is the release's torrent."""

    folder: Path
    metadata: Metadata

    @property
    def path(self) -> Path:
        return self.folder / STATE_FOLDER

    def keep_torrent(self, content: bytes, *, complete: bool) -> None:
        """Remember the torrent (``.torrent`` bytes), and whether the folder holds all of it. Writes only changes."""
        origin = Origin(self.metadata.name, self.metadata.infohash_v1, self.metadata.infohash_v2, complete)
        if read_small(self.path / KEPT_TORRENT) != content:
            replace_file(self.path / KEPT_TORRENT, content)
        if read_origin(self.folder) != origin:
            record_origin(self.folder, origin)

    def keep_resume(self, resume: bytes) -> None:
        """Remember the session's account. It is believed later only if ``vouch`` follows it."""
        replace_file(self.path / RESUME_FILE, resume)

    def read_resume(self) -> bytes:
        """The session's account; empty if there is none."""
        return read_small(self.path / RESUME_FILE) or b""

    def vouch(self) -> None:
        """Note the files as they are, since nothing will write to them any more: the account may be believed."""
        replace_file(self.path / STAMPS_FILE, json.dumps(self._stamps()).encode())

    def withdraw(self) -> None:
        """Stop vouching for the account. To be called before anything is written to the files."""
        try:
            (self.path / STAMPS_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise disk_failure(error, self.path) from error

    def is_vouched(self) -> bool:
        """Whether every file is as it was when a clean stop left it."""
        try:
            return bool(json.loads(read_small(self.path / STAMPS_FILE) or b"null") == self._stamps())
        except (ValueError, RecursionError):
            return False

    def forget_resume(self) -> None:
        """Remove the session's account, which a complete download does not need."""
        try:
            (self.path / RESUME_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise disk_failure(error, self.path) from error

    def forget_fragments(self) -> None:
        """Remove the bytes of files that were left out, once no file is left out any more."""
        for path in self.path.glob(".*.parts"):
            try:
                path.unlink()
            except OSError as error:
                raise disk_failure(error, path) from error

    def _stamps(self) -> dict[str, list[int]]:
        stamps = {}
        for file in self.metadata.files:
            try:
                found = (self.folder / file.path).lstat()
            except OSError:
                continue
            stamps[str(file.path)] = [*stamp(found), found.st_nlink]
        return stamps


def read_kept_torrent(folder: Path) -> bytes:
    """The ``.torrent`` bytes that a folder remembers; empty if it remembers none. They may be damaged."""
    return read_small(folder / STATE_FOLDER / KEPT_TORRENT) or b""


def matching_torrent(kept: bytes, magnet: Magnet) -> bytes:
    """The ``.torrent`` bytes that a folder remembers, if they are whole and of the link's torrent; else empty."""
    try:
        check_same(read_torrent(kept), magnet)
    except TorrentError:
        return b""
    return kept


def files_not_fetched(folder: Path, metadata: Metadata) -> frozenset[str]:
    """The paths of files that an unfinished download lacks: they were left out, or have not come yet.

    Empty for a folder whose download is finished, or that nothing is known about.
    """
    origin = read_origin(folder)
    if origin is None or origin.complete:
        return frozenset()
    return frozenset(str(file.path) for file in metadata.files if not (folder / file.path).exists())


def find_release(parent: Path, magnet: Magnet) -> Path | None:
    """The folder in ``parent`` that holds the torrent that the link names, wholly or in part; None if there is none."""
    return next((folder for folder in _folders(parent) if _is_of(folder, magnet)), None)


def check_unclaimed(folder: Path, magnet: Magnet) -> None:
    """Raise ``UsageError`` if ``folder`` holds another torrent than the one that the link names."""
    origin = read_origin(folder)
    if origin is not None and not _is_of(folder, magnet):
        raise UsageError(
            f"{folder}: holds another release, {origin.name} ({origin.infohash_v1 or origin.infohash_v2})",
            hint="fetch into another folder with --dir, or move that one away",
        )


def read_small(path: Path) -> bytes | None:
    """The content of a file in the state folder; None if it is not there, cannot be read, or is absurdly large."""
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_STATE_BYTES else None
    except OSError:
        return None


def _folders(parent: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk_failure(error, parent) from error


def _is_of(folder: Path, magnet: Magnet) -> bool:
    origin = read_origin(folder)
    if origin is None:
        return False
    pairs = ((origin.infohash_v1, magnet.infohash_v1), (origin.infohash_v2, magnet.infohash_v2))
    known = [found == asked for found, asked in pairs if found and asked]
    return bool(known) and all(known)
