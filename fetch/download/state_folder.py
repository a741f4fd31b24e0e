"""What a release's ``.magnetar`` folder remembers: its torrent, and how far a download came.

``origin.json`` (``magnetar.manifests.folder.origin``) says which torrent; ``release.torrent`` is its metadata, never
fetched twice; ``resume`` is the session's own account; ``stamps.json`` is there only after a clean stop, and makes that
account believable: it notes the size and time of change of every file when the account was written. ``.*.parts`` holds
bytes of files that were left out, where a piece reaches from them into a wanted file.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import TorrentError, UsageError
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.torrent.metadata import Metadata, check_same
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER, disk_failure, replace_file
from magnetar.manifests.folder.layout import KEPT_TORRENT
from magnetar.manifests.folder.origin import Origin, read_origin, record_origin

RESUME_FILE = "resume"
STAMPS_FILE = "stamps.json"
LARGEST_STATE = 4 << 30  # bytes: the account of a version 2 torrent holds 2 MB of hashes for each GB


@dataclass(frozen=True, slots=True)
class State:
    """The state of the release in ``folder``, of which ``metadata`` is the description."""

    folder: Path
    metadata: Metadata

    @property
    def path(self) -> Path:
        return self.folder / STATE_FOLDER

    def keep_torrent(self, content: bytes, *, complete: bool) -> None:
        """Remember the metadata and what the folder is, if that is not what is remembered already."""
        origin = Origin(self.metadata.name, self.metadata.infohash_v1, self.metadata.infohash_v2, complete)
        if read_small(self.path / KEPT_TORRENT) != content:
            replace_file(self.path / KEPT_TORRENT, content)
        if read_origin(self.folder) != origin:
            record_origin(self.folder, origin)

    def keep_resume(self, resume: bytes) -> None:
        """Remember the session's account. It is believed later only if ``vouch`` follows it."""
        replace_file(self.path / RESUME_FILE, resume)

    def read_resume(self) -> bytes:
        return read_small(self.path / RESUME_FILE) or b""

    def vouch(self) -> None:
        """Note the files as they are, since nothing will write to them any more."""
        replace_file(self.path / STAMPS_FILE, json.dumps(self._stamps()).encode())

    def withdraw(self) -> None:
        """Stop vouching, before anything is written to the files."""
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
        """Drop the session's account, which a complete download needs no more."""
        try:
            (self.path / RESUME_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise disk_failure(error, self.path) from error

    def forget_fragments(self) -> None:
        """Drop what was kept of files that were left out once, where a piece reaches into them."""
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
            stamps[str(file.path)] = [found.st_size, found.st_mtime_ns, found.st_ino, found.st_nlink]
        return stamps


def read_kept_torrent(folder: Path) -> bytes:
    """The metadata that a folder remembers; empty if it remembers none."""
    return read_small(folder / STATE_FOLDER / KEPT_TORRENT) or b""


def kept_torrent(folder: Path, magnet: Magnet) -> bytes:
    """The metadata that a folder remembers, if it is still whole and of the torrent that the link names; else empty."""
    torrent = read_kept_torrent(folder)
    try:
        check_same(read_torrent(torrent), magnet)
    except TorrentError:
        return b""
    return torrent


def find_release(parent: Path, magnet: Magnet) -> Path | None:
    """The folder in ``parent`` that holds, wholly or in part, the torrent that the link names."""
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
    """The content of a file of ours; None if it is not there, cannot be read, or is absurdly large."""
    try:
        return path.read_bytes() if path.stat().st_size <= LARGEST_STATE else None
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
