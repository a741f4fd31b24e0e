"""Mirrors: where the bytes of a release can be had by HTTP, as plain values. Pure: nothing here touches the network.

A mirror is never believed. What it serves goes into the torrent piece by piece, and each piece is hashed there like
one that came from a peer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from magnetar.errors import UsageError
from magnetar.fetch.link.urls import host_of
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.manifests.folder.safe_path import PART_NUMBER

MAX_PARTS = 10_000
"""Parts that one file may be cut into."""


@dataclass(frozen=True, slots=True)
class FileMirror:
    """Where one file of the release can be had. ``path`` is the file's path in the release.

    ``offset`` is the byte of the resource at which the file begins: not 0 for a file inside an uncompressed archive. A
    file that was cut into ``parts`` has ``{part}`` in its ``url``, in the place of their numbers, which count from 0.
    ``named`` says that the user typed this URL, so its host may have a private address.

    Raises ``UsageError`` for a URL that is not http or https, and for parts without a place for their numbers.
    """

    path: str
    url: str
    offset: int = 0
    parts: int = 0
    named: bool = False

    def __post_init__(self) -> None:
        host_of(self.url)
        if not 0 <= self.parts <= MAX_PARTS or self.offset < 0 or (self.parts and self.offset):
            raise UsageError(f"{self.url}: {self.parts} parts at offset {self.offset} make no file")
        if bool(self.parts) != bool(PART_NUMBER.search(self.url)):
            raise UsageError(
                f"{self.url}: a file in parts needs their count, and {{part}} in its URL",
                hint="write {part} where the number of the part stands, or {part:02} if it has two digits",
            )

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs whose content, one after another, is the file: one, or one for each part."""
        if not self.parts:
            return (self.url,)
        return tuple(_number(self.url, part) for part in range(self.parts))


@dataclass(frozen=True, slots=True)
class ReleaseMirror:
    """Where a whole release can be had: the folder above its files, an uncompressed tar of them, or its one file.

    ``named`` as in ``FileMirror``. Raises ``UsageError`` for a URL that is not http or https.
    """

    url: str
    named: bool = False

    def __post_init__(self) -> None:
        host_of(self.url)

    @property
    def is_archive(self) -> bool:
        """Whether it is a tar, in which the files must be found first."""
        return urlsplit(self.url).path.lower().endswith(".tar")

    def files(self, metadata: Metadata) -> tuple[FileMirror, ...]:
        """The mirror of each file of the release. For an archive, see ``magnetar.fetch.mirror.tar``."""
        last = PurePosixPath(urlsplit(self.url).path).name
        meant = [file for file in metadata.files if quote(file.path.name) == last]
        if len(meant) == 1 and not self.url.endswith("/"):
            return (FileMirror(str(meant[0].path), self.url, named=self.named),)
        base = urlsplit(self.url)
        folder = base.path if base.path.endswith("/") else base.path + "/"
        urls = (base._replace(path=folder + quote(str(file.path))).geturl() for file in metadata.files)
        return tuple(
            FileMirror(str(file.path), url, named=self.named)
            for file, url in zip(metadata.files, urls, strict=True)
            if not PART_NUMBER.search(url)
        )


Mirror = FileMirror | ReleaseMirror


def mirrors_of_web_seeds(metadata: Metadata) -> tuple[ReleaseMirror, ...]:
    """The web seeds of a torrent (BEP 19) as mirrors, if the torrent is of version 2 alone; otherwise none.

    libtorrent 2.1.1 cannot use the web seeds of such a torrent: it looks for all files but the first at the wrong place
    in the answer, throws away what came, and does not ask again. Other torrents' web seeds are left to it.
    """
    if metadata.infohash_v1:
        return ()
    names = [str(file.path) for file in metadata.files]
    if names == [metadata.name]:  # a torrent of a file, not of a folder
        urls = (url + quote(metadata.name) if url.endswith("/") else url for url in metadata.web_seeds)
    else:
        urls = (f"{url.removesuffix('/')}/{quote(metadata.name)}/" for url in metadata.web_seeds)
    return tuple(map(ReleaseMirror, urls))


def named_hosts(mirrors: Iterable[Mirror]) -> frozenset[str]:
    """The hosts of the mirrors that the user typed."""
    return frozenset(host_of(mirror.url) for mirror in mirrors if mirror.named)


def _number(template: str, part: int) -> str:
    return PART_NUMBER.sub(lambda place: str(part).zfill(int(place[1] or 1)), template)
