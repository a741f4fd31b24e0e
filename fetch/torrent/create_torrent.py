"""Making a torrent of a folder: hybrid, version 2 or version 1 (BEP 3, BEP 47, BEP 52). The same files always give the
same torrent.

The info dictionary is made here, from hashes that our own threads take in one read. libtorrent hashes on one thread
only, and cannot be given hashes of version 2 that were made elsewhere.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from magnetar.byte_source import LocalFile, read_bytes
from magnetar.errors import DiskError, MalformedError, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.fetch.link.healing import is_tracker_url, is_web_url
from magnetar.fetch.torrent.metadata import MAX_TORRENT_BYTES, TorrentFile, check_name, check_paths
from magnetar.fetch.torrent.metainfo import encode, read_torrent
from magnetar.fetch.torrent.piece_hasher import Sha1Pieces, TreePieces
from magnetar.fetch.torrent.piece_layout import Extent, PieceLayout, Span
from magnetar.files import Stamp, disk_failure, stamp
from magnetar.manifests.folder.layout import payload_paths
from magnetar.manifests.hashing.digests import digest_files
from magnetar.manifests.hashing.distribute import ByteConsumer

Version = Literal["hybrid", "v2", "v1"]

PIECE_LENGTHS = tuple(1 << power for power in range(14, 28))
"""Bytes: 16 KiB to 128 MiB."""
MAX_PIECES = 0x200000
"""Pieces of a torrent that libtorrent accepts."""
HASH_BYTES = {"hybrid": 52, "v2": 32, "v1": 20}
"""Bytes of hashes for each piece."""
BYTES_FOR_NAMES = 2 << 20
"""Bytes of a ``.torrent`` that are kept free for names, where hashes fill the rest."""
MAX_CHOSEN_PIECE_LENGTH = 16 << 20
"""Bytes. Some clients refuse longer pieces, and one wrong byte costs a whole piece."""


@dataclass(frozen=True, slots=True)
class TorrentOptions:
    """How to make a torrent: its version of the protocol, and what its metadata says besides the files.

    "hybrid" is read by clients of both versions, but aria2c and other old ones need "v1". ``piece_length`` is a power
    of two from 16 KiB to 128 MiB, in bytes; with None, ``choose_piece_length`` chooses it. The peers of a ``private``
    torrent are asked of its trackers and of nobody else (BEP 27).
    """

    version: Version = "hybrid"
    piece_length: int | None = None
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    comment: str = ""
    private: bool = False


def choose_piece_length(total: int) -> int:
    """The smallest allowed length of at least ten times the square root of ``total`` bytes, and 16 MiB at most.

    The number of pieces and their length then grow alike: 300 GB have 36,000 pieces of 8 MiB. libtorrent's own rule is
    the same today, but a torrent that must be the same tomorrow should not depend on that.
    """
    fitting = (length for length in PIECE_LENGTHS if length * length >= 100 * total)
    return min(next(fitting, MAX_CHOSEN_PIECE_LENGTH), MAX_CHOSEN_PIECE_LENGTH)


def create_torrent(folder: Path, options: TorrentOptions = TorrentOptions(), *, emit: Emit = ignore) -> bytes:
    """The ``.torrent`` bytes of a folder. The same files and options give the same bytes, whenever and wherever.

    Raises what ``Draft`` does, and ``DiskError`` for a file that cannot be read or changes meanwhile.
    """
    draft = Draft(folder, options)
    emit(Began(Step.HASH, draft.total))
    paths = [str(file.path) for file in draft.files]
    digest_files(draft.folder, paths, (), lambda count: emit(Moved(Step.HASH, count)), draft.hashers)
    emit(Ended(Step.HASH))
    return draft.finish()


@dataclass(frozen=True, slots=True)
class FileHashes:
    """The hashes of one file: the SHA-1 of its pieces, and the root and the layer of pieces of its hash tree.

    ``pieces`` are joined: in a hybrid torrent all of them, in version 1 those that lie in the file wholly.
    """

    pieces: bytes
    root: bytes
    layer: bytes


class Draft:
    """A torrent in the making. The bytes of every file must be fed to its ``hashers``, in one read with other hashers.

    Instead, hashes that an earlier draft of the same ``terms`` gave as ``hashed`` may be given to ``reuse``.
    ``.magnetar`` and ``.git`` are left out. Raises ``UsageError`` for an empty folder, a symbolic link, a name that no
    torrent may hold, a piece length that no torrent may have, or a URL that is not of a tracker or a web seed;
    ``DiskError``.
    """

    def __init__(self, folder: Path, options: TorrentOptions) -> None:
        _check_options(options)
        self.folder = folder.resolve()
        self.files = tuple(_list_payload(self.folder))
        self.total = sum(file.size for file in self.files)
        self.piece_length = options.piece_length or choose_piece_length(self.total)
        _check_count(self.files, self.piece_length, options.version)
        self._options = options
        starts = accumulate((file.size for file in self.files), initial=0)
        padded = len(self.files) > 1  # the last of several is padded too, as libtorrent has it
        self._entries = {
            str(file.path): _Entry(self.folder / file.path, start, self.piece_length, options.version, padded=padded)
            for file, start in zip(self.files, starts, strict=False)
        }

    def hashers(self, path: str) -> tuple[ByteConsumer, ...]:
        """The hashers of the file at ``path``: each wants all its bytes in order, on one thread at a time."""
        return self._entries[path].hashers

    def terms(self, path: str) -> str:
        """What the hashes of the file at ``path`` depend on besides its bytes, as a text to compare."""
        return self._entries[path].terms

    def hashed(self, path: str) -> FileHashes:
        """The hashes of the file at ``path``, after its bytes were fed to its hashers."""
        return self._entries[path].hashes

    def reuse(self, path: str, hashes: FileHashes) -> None:
        """Use these hashes for the file at ``path``, which is then not fed. They must be of the same terms."""
        self._entries[path].reuse(hashes)

    def finish(self) -> bytes:
        """The ``.torrent`` bytes, when all hashes are there. Raises ``DiskError`` if a file changed meanwhile."""
        for entry in self._entries.values():
            entry.check_unchanged()
        info: dict[bytes, Any] = {b"name": self.folder.name.encode(), b"piece length": self.piece_length}
        made: dict[bytes, Any] = {b"info": info}
        match self._options.version:
            case "v1":
                info |= {b"files": [_listed(file) for file in self.files], b"pieces": self._pieces_across_files()}
            case "v2":
                info |= {b"meta version": 2, b"file tree": self._file_tree()}
            case "hybrid":
                files, pieces = self._padded_files()
                info |= {b"meta version": 2, b"file tree": self._file_tree(), b"files": files, b"pieces": pieces}
        if self._options.version != "v1":
            made[b"piece layers"] = {
                entry.hashes.root: entry.hashes.layer for entry in self._entries.values() if entry.hashes.layer
            }
        if self._options.private:
            info[b"private"] = 1
        torrent = encode(made | _outside_of_info(self._options))
        read_torrent(torrent)
        return torrent

    def _file_tree(self) -> dict[bytes, Any]:
        """The file tree of version 2: folders are dictionaries, a file is one with a single entry of empty name."""
        tree: dict[bytes, Any] = {}
        for path, entry in self._entries.items():
            place = tree
            for part in path.split("/"):
                place = place.setdefault(part.encode(), {})
            place[b""] = {b"length": entry.size} | ({b"pieces root": entry.hashes.root} if entry.size else {})
        return tree

    def _padded_files(self) -> tuple[list[dict[bytes, Any]], bytes]:
        """The files as version 1 lists them, padded so that each file begins a piece, and the SHA-1 of all pieces."""
        files: list[dict[bytes, Any]] = []
        for file, entry in zip(self.files, self._entries.values(), strict=True):
            padding = -file.size % self.piece_length if entry.padded else 0
            files.append(_listed(file))
            if padding:
                files.append({b"attr": b"p", b"length": padding, b"path": [b".pad", str(padding).encode()]})
        return files, b"".join(entry.hashes.pieces for entry in self._entries.values())

    def _pieces_across_files(self) -> bytes:
        """The SHA-1 of all pieces of version 1. Pieces that lie in one file are known; the others are read again."""
        known: dict[int, bytes] = {}
        for entry in self._entries.values():
            first, digests = -(-entry.start // self.piece_length), entry.hashes.pieces
            known |= {first + at // 20: digests[at : at + 20] for at in range(0, len(digests), 20)}
        extents = [Extent(path, entry.start, entry.size) for path, entry in self._entries.items()]
        layout = PieceLayout(extents, self.piece_length, padded=False)
        count = -(-self.total // self.piece_length)
        return b"".join(known.get(piece) or self._read_piece(layout.spans(piece)) for piece in range(count))

    def _read_piece(self, spans: Iterable[Span]) -> bytes:
        hasher = sha1(usedforsecurity=False)
        for span in spans:
            with LocalFile(self.folder / span.path) as file:
                hasher.update(read_bytes(file, span.offset, span.length))
        return hasher.digest()


class _Entry:
    """One file of a draft: its stamp when it was listed, and the hashers of its bytes."""

    def __init__(self, path: Path, start: int, piece_length: int, version: Version, *, padded: bool) -> None:
        skip = -start % piece_length if version == "v1" else 0
        self.start = start
        self.padded = padded
        self.terms = f"{version}, pieces of {piece_length} from {skip}{', padded' if padded else ''}"
        self._path = path
        self._stamp = _stamp(path)
        self._version = version
        self._sha1 = Sha1Pieces(piece_length, skip)
        self._tree = TreePieces(piece_length)
        self._reused = False
        feeds: dict[Version, tuple[Sha1Pieces | TreePieces, ...]]
        feeds = {"v1": (self._sha1,), "v2": (self._tree,), "hybrid": (self._sha1, self._tree)}
        self.hashers = feeds[version]

    @property
    def size(self) -> int:
        return self._stamp.size

    @cached_property
    def hashes(self) -> FileHashes:
        pieces = self._sha1.end(padded=self.padded) if self._version == "hybrid" else self._sha1.digests
        return FileHashes(b"".join(pieces), *self._tree.end())

    def reuse(self, hashes: FileHashes) -> None:
        self.hashes = hashes
        self._reused = True

    def check_unchanged(self) -> None:
        seen = {self.size} if self._reused else {hasher.seen for hasher in self.hashers}
        if _stamp(self._path) != self._stamp or seen != {self.size}:
            hint = "leave the folder alone, and retry"
            raise DiskError(f"{self._path}: changed while it was read", hint=hint, path=self._path)


def _check_options(options: TorrentOptions) -> None:
    if options.piece_length is not None and options.piece_length not in PIECE_LENGTHS:
        raise UsageError(f"{options.piece_length} bytes: a piece length is a power of two from 16 KiB to 128 MiB")
    for url in options.trackers:
        if not is_tracker_url(url):
            raise UsageError(
                f"{url!r} is no tracker", hint="a tracker is udp://, http:// or https://HOST:PORT/announce"
            )
    for url in options.web_seeds:
        if not is_web_url(url):
            raise UsageError(f"{url!r} is no web seed", hint="a web seed is the http(s):// URL above the files")


def _check_count(files: tuple[TorrentFile, ...], piece_length: int, version: Version) -> None:
    """Raise ``UsageError``, before hours of hashing, for so many pieces that clients would refuse the torrent."""
    pieces = sum(-(-file.size // piece_length) for file in files)
    if pieces > MAX_PIECES or pieces * HASH_BYTES[version] > MAX_TORRENT_BYTES - BYTES_FOR_NAMES:
        raise UsageError(
            f"{pieces:,} pieces of {piece_length:,} bytes make a torrent that clients refuse",
            hint=f"ask for longer ones: the rule is {choose_piece_length(sum(file.size for file in files))} bytes",
        )


def _list_payload(folder: Path) -> Iterator[TorrentFile]:
    """Every file to publish, with its path below the folder and its size, sorted by the bytes of names (BEP 52)."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder to publish")
    paths = sorted(payload_paths(folder, own_manifest=True), key=lambda path: os.fsencode(path).split(b"/"))
    if not paths:
        raise UsageError(f"{folder}: holds no files to publish")
    try:
        check_name(folder.name)
        check_paths(paths)
        "/".join([folder.name, *paths]).encode()
    except MalformedError as error:
        raise UsageError(f"{folder}: cannot be published: {error.message}", hint="rename it first") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{folder}: holds a name that is not UTF-8 text", hint="rename it first") from error
    for path in paths:
        if (folder / path).is_symlink():
            raise UsageError(
                f"{folder / path}: is a symbolic link", hint="publish a folder that holds the files themselves"
            )
        if not (folder / path).is_file():
            raise UsageError(f"{folder / path}: is neither a file nor a folder")
        yield TorrentFile(PurePosixPath(path), _stamp(folder / path).size)


def _stamp(path: Path) -> Stamp:
    try:
        return stamp(path.stat())
    except OSError as error:
        raise disk_failure(error, path) from error


def _listed(file: TorrentFile) -> dict[bytes, Any]:
    return {b"length": file.size, b"path": [part.encode() for part in file.path.parts]}


def _outside_of_info(options: TorrentOptions) -> dict[bytes, Any]:
    """The entries beside the info dictionary, on which the infohash does not depend."""
    made: dict[bytes, Any] = {}
    if options.trackers:
        made |= {
            b"announce": options.trackers[0].encode(),
            b"announce-list": [[url.encode()] for url in options.trackers],
        }
    if options.web_seeds:
        made[b"url-list"] = [url.encode() for url in options.web_seeds]
    if options.comment:
        made[b"comment"] = options.comment.encode()
    return made
