"""Reading and writing ``.torrent`` bytes.

This module and those called ``libtorrent_…`` in ``magnetar.fetch.swarm`` are the only ones that know libtorrent.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import libtorrent

from magnetar.errors import DiskError, TorrentError, UsageError
from magnetar.fetch.link.healing import is_tracker_url, is_web_url
from magnetar.fetch.link.magnet import MAX_TRACKERS
from magnetar.fetch.torrent.file_digests import FileDigests, PieceDigest
from magnetar.fetch.torrent.metadata import (
    MAX_TORRENT_BYTES,
    Metadata,
    TorrentFile,
    check_name,
    check_paths,
    spelled_paths,
)
from magnetar.files import disk_failure
from magnetar.manifests.hashing.digests import Digest, new_hasher
from magnetar.manifests.hashing.merkle import BLOCK

lt: Any = libtorrent  # its stubs are partly wrong

_LIMITS = {"max_pieces": 0x200000, "max_decode_depth": 100, "max_decode_tokens": 3_000_000}
_PAD, _SYMLINK = 1, 8  # file_flags
_ERROR_CODE = re.compile(r"\s*\[\w+:\d+\]$")


def read_torrent(content: bytes) -> Metadata:
    """The metadata in the bytes of a ``.torrent`` file. Raises ``TorrentError`` if they are damaged or unsafe."""
    params: Any = load(content)
    info = params.ti
    paths = payload_paths(info)
    # libtorrent mends unsafe names silently, so the names are also checked as the metadata spells them.
    check_paths(spelled_paths(_decode(info.info_section())))
    check_paths(paths.values())
    check_name(info.name())
    layout = info.layout()
    hashes = info.info_hashes()
    return Metadata(
        name=info.name(),
        infohash_v1=str(hashes.v1) if hashes.has_v1() else "",
        infohash_v2=str(hashes.v2) if hashes.has_v2() else "",
        piece_length=info.piece_length(),
        piece_count=info.num_pieces(),
        files=tuple(TorrentFile(PurePosixPath(path), layout.file_size(index)) for index, path in paths.items()),
        trackers=_first_urls(filter(is_tracker_url, params.trackers)),
        web_seeds=_first_urls(filter(is_web_url, params.url_seeds)),
        private=info.priv(),
    )


def _first_urls(urls: Iterable[str]) -> tuple[str, ...]:
    """The first ``MAX_TRACKERS`` URLs, each once: a torrent may name a hundred thousand."""
    return tuple(islice(dict.fromkeys(urls), MAX_TRACKERS))


def check_info(torrent: bytes, pinned: Digest) -> None:
    """Raise ``TorrentError`` unless the torrent's info dictionary, byte for byte, has the pinned digest.

    An infohash of version 1 is a SHA-1, whose collisions are cheap to make. The pinned digest is as strong as its
    algorithm.
    """
    found = info_digest(torrent, pinned.algorithm)
    if found != pinned:
        raise TorrentError(
            f"the torrent's metadata has {found}, and {pinned} was pinned",
            hint="somebody serves another torrent under this infohash: do not use it; nothing was written",
        )


def info_digest(torrent: bytes, algorithm: str) -> Digest:
    """A digest of the torrent's info dictionary, byte for byte. Raises ``TorrentError``."""
    hasher = new_hasher(algorithm)
    hasher.update(memoryview(load(torrent).ti.info_section()))
    return Digest(algorithm, hasher.hexdigest())


def read_torrent_file(path: Path) -> bytes:
    """The bytes of a ``.torrent`` file, within limits. Raises ``UsageError``, ``TorrentError`` or ``DiskError``."""
    try:
        if path.stat().st_size > MAX_TORRENT_BYTES:
            raise TorrentError(f"{path}: is too large for a .torrent file", path=path)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file", hint="check the path") from error
    except OSError as error:
        raise disk_failure(error, path) from error


def load_torrent(path: Path) -> Metadata:
    """The metadata in a ``.torrent`` file. Raises as ``read_torrent_file`` and ``read_torrent`` do, naming the file."""
    content = read_torrent_file(path)
    try:
        return read_torrent(content)
    except TorrentError as error:
        raise TorrentError(f"{path}: {error.message}", hint=error.hint, path=path) from error


def load(content: bytes) -> Any:
    """The bytes of a ``.torrent`` file as libtorrent's ``add_torrent_params``, within limits."""
    if len(content) > MAX_TORRENT_BYTES:
        raise TorrentError(f"the torrent's metadata is {len(content)} bytes, more than {MAX_TORRENT_BYTES}")
    with foreign_errors("the torrent cannot be read"):
        params = lt.load_torrent_buffer(content, _LIMITS)
    if params.ti is None or not params.ti.is_valid():
        raise TorrentError("the torrent cannot be read: it has no file list")
    return params


def _decode(content: bytes) -> dict[bytes, Any]:
    """The dictionary in bencoded bytes. libtorrent sets the limit: two million items."""
    with foreign_errors("the torrent cannot be read"):
        return dict(lt.bdecode(content))


@contextmanager
def foreign_errors(what: str, *, error: type[TorrentError] | type[DiskError] = TorrentError) -> Iterator[None]:
    """Wrap what libtorrent raises: a bare ``RuntimeError`` whose text ends in ``[category:code]``."""
    try:
        yield
    except (RuntimeError, UnicodeError) as foreign:
        raise error(f"{what}: {_ERROR_CODE.sub('', str(foreign))}") from foreign


def payload_paths(info: Any) -> dict[int, str]:
    """libtorrent's index of each file of payload, and its path relative to the release's folder."""
    layout = info.layout()
    paths = {}
    for index in range(layout.num_files()):
        flags = layout.file_flags(index)
        if flags & _SYMLINK:
            raise TorrentError(f"the torrent holds a symbolic link, {layout.file_path(index)[:100]!r}")
        if not flags & _PAD:
            path = layout.file_path(index)
            paths[index] = path.partition("/")[2] or path
    if not paths:
        raise TorrentError("the torrent holds no files")
    return paths


def file_priorities(info: Any, unwanted: Collection[str]) -> list[int]:
    """libtorrent's priority of each entry of the layout: 0 for padding and files left out, else 4, its default."""
    wanted = {index for index, path in payload_paths(info).items() if path not in unwanted}
    return [4 if index in wanted else 0 for index in range(info.layout().num_files())]


def damaged_paths(info: Any, pieces: Sequence[bool]) -> list[str]:
    """The files that hold bytes of a bad piece, in the torrent's order. In version 1 a piece may span several files."""
    layout = info.layout()
    length = layout.piece_length()
    damaged = []
    for index, path in payload_paths(info).items():
        first = layout.piece_index_at_file(index)
        last = (layout.file_offset(index) + max(layout.file_size(index), 1) - 1) // length
        if layout.file_size(index) and not all(pieces[first : last + 1]):
            damaged.append(path)
    return damaged


def file_digests(torrent: bytes) -> Iterator[FileDigests]:
    """How each file of payload can be checked by itself. Raises ``TorrentError``."""
    info = load(torrent).ti
    layers = _decode(torrent).get(b"piece layers", {})
    layout = info.layout()
    hashes = info.info_hashes()
    for index, path in payload_paths(info).items():
        root = layout.root(index).to_bytes() if hashes.has_v2() else b""
        size, start = layout.file_size(index), layout.file_offset(index)
        if root and (size <= info.piece_length() or root in layers):
            digests = _tree_digests(size, info.piece_length(), layers.get(root, root))
        elif hashes.has_v1():
            digests = _piece_digests(info, start, size, padded=hashes.has_v2())
        else:
            digests = ()
        yield FileDigests(path, size, start, info.piece_length(), root, digests)


def _tree_digests(size: int, piece_length: int, layer: bytes) -> tuple[PieceDigest, ...]:
    """The digests of a file's pieces from its hash tree. The tree of a file of one piece is no larger than the file."""
    leaves = piece_length // BLOCK if size > piece_length else 1
    return tuple(
        PieceDigest(offset, min(piece_length, size - offset), "merkle", layer[at : at + 32], leaves=leaves)
        for at, offset in zip(range(0, len(layer), 32), range(0, size, piece_length), strict=False)
    )


def _piece_digests(info: Any, start: int, size: int, *, padded: bool) -> tuple[PieceDigest, ...]:
    """The digests of the version 1 pieces that lie in the file wholly, or that only padding follows."""
    length = info.piece_length()
    found = []
    for piece in range(-(-start // length), -(-(start + size) // length)):
        offset = piece * length - start
        inside = min(length, size - offset)
        if inside == info.piece_size(piece) or padded:
            padding = info.piece_size(piece) - inside
            found.append(PieceDigest(offset, inside, "sha1", info.hash_for_piece(piece), padding))
    return tuple(found)


def bare_torrent(info_section: bytes, trackers: Sequence[str]) -> bytes:
    """A ``.torrent`` file around the info dictionary that a swarm sent, byte for byte."""
    announce = b"13:announce-list" + lt.bencode([[url.encode()] for url in trackers]) if trackers else b""
    return b"d" + announce + b"4:info" + info_section + b"e"


def encode(made: dict[bytes, Any]) -> bytes:
    """Bencode a dictionary, its keys in order at every depth (BEP 3)."""
    return bytes(lt.bencode(made))
