"""A folder on disk, read once: its files by name, and the notes that lie in it. Nothing in it is trusted."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from magnetar.convert.write.journal import Conversion, read_conversion
from magnetar.errors import TorrentError, UsageError
from magnetar.files import STATE_FOLDER, disk_failure
from magnetar.manifests.checking.choose_manifest import ChosenManifest, choose_manifest
from magnetar.manifests.folder.layout import KEPT_TORRENT, published_manifest
from magnetar.manifests.folder.origin import Origin, read_origin

if TYPE_CHECKING:  # where no torrent is kept, libtorrent is not needed
    from magnetar.fetch.torrent.metadata import Metadata
    from magnetar.manifests.identity.evidence import Candidate


@dataclass(frozen=True)
class ReleaseFolder:
    """What a path holds, as far as names and notes tell.

    Whoever made the folder wrote the notes too. They may say where to look, and never what to believe.

    ``path`` is what the user named: a folder, or a file of weights in it. ``root`` is the folder. ``names`` are the
    files directly in it. ``conversion`` says what it was converted from, ``origin`` which torrent it was fetched as,
    ``torrent`` is the metadata of that torrent (empty: none is kept), ``published`` the manifest that was published
    beside the folder. Each is None where nothing readable says so.
    """

    path: Path
    root: Path
    names: tuple[str, ...]
    conversion: Conversion | None
    origin: Origin | None
    torrent: bytes
    published: Path | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``path`` holds. Raises ``UsageError`` if nothing is there, ``DiskError`` if it cannot be listed."""
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder", hint="name what holds the weights")
        root = path if path.is_dir() else path.parent
        try:
            names = tuple(sorted(entry.name for entry in root.iterdir() if _is_file(entry)))
        except OSError as error:
            raise disk_failure(error, root) from error
        return cls(
            path=path,
            root=root,
            names=names,
            conversion=read_conversion(root),
            origin=read_origin(root),
            torrent=_read_torrent(root),
            published=published_manifest(root),
        )

    @property
    def is_folder(self) -> bool:
        """Whether the user named the folder itself, and not one file in it."""
        return self.path == self.root

    @cached_property
    def metadata(self) -> "Metadata | None":
        """What the kept torrent says; None without one. Raises ``TorrentError`` if it is damaged."""
        if not self.torrent:
            return None
        from magnetar.fetch.torrent.metainfo import read_torrent

        return read_torrent(self.torrent)

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of the files that are likely to be the weights, with all their parts and shards."""
        from magnetar.convert.read.find_weights import name_weights

        return tuple(name_weights(self.names))

    @cached_property
    def candidate(self) -> "Candidate | None":
        """The release of the catalog that the weights may be by content, whatever names and notes say; else None."""
        from magnetar.pipeline.folder.look_at_weights import find_candidate

        return find_candidate(self)

    @property
    def side_files(self) -> tuple[str, ...]:
        """The names of the other files beside the weights."""
        return tuple(name for name in self.names if name not in self.weights)

    def choose(self, named: str | None = None) -> ChosenManifest:
        """The manifest to hold the folder against: the one that was named, or the one that fits.

        Raises ``UsageError`` where no manifest fits, or several do.
        """
        return choose_manifest(
            self.root, named, origin=self.origin, published=self.published, kept=self._infohashes_of_torrent
        )

    def _infohashes_of_torrent(self) -> tuple[str, str]:
        """The infohashes of the kept torrent, computed from it; empty where none is kept, or it is damaged."""
        try:
            return (self.metadata.infohash_v1, self.metadata.infohash_v2) if self.metadata else ("", "")
        except TorrentError:
            return "", ""


def require_folder(path: Path, hint: str) -> ReleaseFolder:
    """``ReleaseFolder.read`` for commands that need a whole folder. Raises ``UsageError`` for what is none."""
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder", hint=hint)
    return ReleaseFolder.read(path)


def _is_file(entry: Path) -> bool:
    """Also where the system does not tell: whoever reads the file will find out, and the others are still listed."""
    try:
        return entry.is_file()
    except OSError:
        return True


def _read_torrent(root: Path) -> bytes:
    if not (root / STATE_FOLDER / KEPT_TORRENT).is_file():
        return b""
    from magnetar.fetch.download.state_folder import read_kept_torrent

    return read_kept_torrent(root)
