"""What a torrent's metadata says, as a plain value, and the rules that its file names must keep.

Pure: ``magnetar.fetch.torrent.metainfo`` reads and writes the bytes of a ``.torrent`` file.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from magnetar.errors import MalformedError, TorrentError
from magnetar.fetch.link.magnet import Magnet
from magnetar.manifests.folder.safe_path import safe_path

MAX_TORRENT_BYTES = 32 << 20
"""Bytes. libtorrent's own limit for metadata that comes over the wire is 30 MiB; a 300 GB release needs about 2 MB."""


@dataclass(frozen=True, slots=True)
class TorrentFile:
    """One file of payload, of ``size`` bytes. ``path`` is relative to the torrent's top folder."""

    path: PurePosixPath
    size: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """A torrent as its metadata describes it (BEP 3, BEP 52). Sizes are in bytes; padding (BEP 47) is left out.

    ``name`` is that of the release's folder. A torrent of one file, too, gets a folder, of that file's name, because
    the state of the download lies beside the payload.
    """

    name: str
    infohash_v1: str
    infohash_v2: str
    piece_length: int
    piece_count: int
    files: tuple[TorrentFile, ...]
    trackers: tuple[str, ...]
    web_seeds: tuple[str, ...]
    private: bool

    @property
    def infohash(self) -> str:
        return self.infohash_v1 or self.infohash_v2

    @property
    def total_size(self) -> int:
        return sum(file.size for file in self.files)


def magnet_of(metadata: Metadata, *, peers: Sequence[tuple[str, int]] = ()) -> Magnet:
    """The link that leads to this torrent, with ``peers`` as direct addresses."""
    return Magnet(
        metadata.infohash_v1,
        metadata.infohash_v2,
        metadata.name,
        metadata.trackers,
        metadata.web_seeds,
        tuple(peers),
    )


def check_same(metadata: Metadata, magnet: Magnet) -> None:
    """Raise ``TorrentError`` unless the metadata is of the torrent that the link names, by every hash in the link."""
    for asked, found in _mismatches(metadata, magnet):
        raise TorrentError(
            f"the metadata is of torrent {found or 'without such a hash'}, not of {asked}",
            hint="the link names two different torrents, or the file beside it is of another release",
        )


def is_same(metadata: Metadata, magnet: Magnet) -> bool:
    """Whether the metadata is of the torrent that the link names, by every hash in the link."""
    return not _mismatches(metadata, magnet)


def _mismatches(metadata: Metadata, magnet: Magnet) -> list[tuple[str, str]]:
    pairs = ((magnet.infohash_v1, metadata.infohash_v1), (magnet.infohash_v2, metadata.infohash_v2))
    return [(asked, found) for asked, found in pairs if asked and asked != found]


def spelled_paths(info: dict[bytes, Any]) -> Iterator[str]:
    """The payload paths of a decoded info dictionary, below its top folder, exactly as it spells them.

    A hybrid torrent lists its files twice. That both lists agree was checked by libtorrent when it parsed the torrent.
    Raises ``TorrentError`` if the name or a version 1 path is of the wrong type.
    """
    try:
        check_name(_text([info[b"name"]]))
        for entry in info.get(b"files", ()):
            if b"p" not in entry.get(b"attr", b""):
                yield _text(entry.get(b"path.utf-8") or entry[b"path"])
        if b"files" not in info:
            yield from _tree_paths(info[b"file tree"], ()) if b"file tree" in info else [_text([info[b"name"]])]
    except (KeyError, TypeError, AttributeError) as error:
        raise TorrentError("the torrent cannot be read: its file list is malformed") from error


def _tree_paths(tree: dict[bytes, Any], above: tuple[bytes, ...]) -> Iterator[str]:
    """The paths in a version 2 file tree. A file is a folder with a single entry, whose name is empty (BEP 52)."""
    for part, below in tree.items():
        if part == b"":
            yield _text(above)
        else:
            yield from _tree_paths(below, (*above, part))


def _text(parts: Sequence[bytes]) -> str:
    if any(b"/" in part for part in parts):
        raise TorrentError("the torrent is unsafe: a name in it holds a slash")
    return b"/".join(parts).decode("utf-8", "replace")


def check_name(name: str) -> None:
    """Raise ``TorrentError`` unless the name of a release is safe as the name of its folder."""
    try:
        safe = len(safe_path(name).parts) == 1
    except MalformedError:
        safe = False
    if not safe:
        raise TorrentError(f"the torrent's name, {name[:100]!r}, is not a safe name for a folder")


def check_paths(paths: Iterable[str]) -> None:
    """Raise ``TorrentError`` unless every payload path stays inside the release's folder and no two collide."""
    seen: set[str] = set()
    for path in paths:
        try:
            safe_path(path)
        except MalformedError as error:
            raise TorrentError(
                f"the torrent is unsafe: {error.message}", hint="do not use this torrent; nothing was written"
            ) from error
        if path in seen:
            raise TorrentError(f"the torrent names {path[:100]!r} twice")
        seen.add(path)
    for path in seen:
        for parent in PurePosixPath(path).parents:
            if str(parent) in seen:
                raise TorrentError(f"the torrent names {str(parent)[:100]!r} both as a file and as a folder")


def case_collisions(metadata: Metadata) -> list[str]:
    """The paths that equal another path of the torrent on a file system that ignores case or Unicode normal form."""
    folded = Counter(_fold(file.path) for file in metadata.files)
    return [str(file.path) for file in metadata.files if folded[_fold(file.path)] > 1]


def _fold(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
