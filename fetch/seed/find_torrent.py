"""Which torrent a folder is served as: its own, one that was offered, that of a known release, or a new one.

Whichever it is, every piece is hashed against it before the first one is served.
"""

from collections.abc import Callable
from pathlib import Path

from magnetar.errors import MetadataTimeout, WrongBytesError
from magnetar.events import Emit, Remarked, Skipped
from magnetar.fetch.download.check_on_disk import Checked, check_pieces
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.swarm.discovery import find_metadata, reachable
from magnetar.fetch.swarm.protocol import Swarm
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.fetch.torrent.metadata import Metadata, is_same
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER

MAX_NAMED_FILES = 5
"""Damaged files that a message lists."""

LinkOf = Callable[[Path], Magnet | None]
"""The link of the release that a folder seems to be; None if it seems to be none that is known."""


def unknown(_folder: Path) -> Magnet | None:
    """A ``LinkOf`` that knows no release."""
    return None


def find_torrent(
    swarm: Swarm, folder: Path, kept: bytes, options: SeedOptions, link_of: LinkOf, emit: Emit
) -> tuple[bytes, bytes]:
    """The torrent of a folder (``.torrent`` bytes), and resume data that claims every piece; each was hashed.

    ``kept`` are the ``.torrent`` bytes that the folder remembers; empty if it remembers none. Raises
    ``WrongBytesError`` if it does, and a piece is not good, and ``MetadataTimeout`` if the folder seems to be a known
    release and nobody in its swarm sends the metadata.
    """
    if kept:
        return _serve_whole(folder, kept, emit)
    for torrent in options.torrents:
        if found := _serve_if_whole(folder, torrent, emit):
            return found
    link = None if options.new_torrent else link_of(folder)
    if link is None:
        return _serve_whole(folder, _make_torrent(folder, options, emit), emit)
    return _serve_as_release(swarm, folder, link, options, emit)


def _serve_as_release(
    swarm: Swarm, folder: Path, link: Magnet, options: SeedOptions, emit: Emit
) -> tuple[bytes, bytes]:
    """Serve under the infohash of ``link``, so that the release's swarm is not split; otherwise as a new torrent."""
    made = _make_torrent(folder, options, emit) if link.infohash_v2 else b""  # ours are hybrid: it may be that one
    if made and is_same(read_torrent(made), link):
        return _serve_whole(folder, made, emit)
    if _can_ask_somebody(link, options):
        name = link.name or link.infohash
        emit(Remarked(f"{folder}: its files are those of {name}: asking that swarm for its metadata"))
        if found := _serve_if_whole(folder, _ask_swarm(swarm, folder, link, options, emit), emit):
            return found
    return _serve_whole(folder, made or _make_torrent(folder, options, emit), emit)


def _ask_swarm(swarm: Swarm, folder: Path, link: Magnet, options: SeedOptions, emit: Emit) -> bytes:
    """The metadata of a release, from its swarm. Raises ``MetadataTimeout``."""
    try:
        torrent, _ = find_metadata(swarm, link, folder.parent, options, emit)
    except MetadataTimeout as error:
        error.hint = (
            "those who look for that release find you only with its metadata: give it with --torrent FILE, "
            "or try later; --new-torrent serves it under a link of its own"
        )
        raise
    return torrent


def _can_ask_somebody(link: Magnet, options: SeedOptions) -> bool:
    """Whether there may be anybody to ask. On loopback there are only those who were named."""
    found = reachable(link, options)
    return bool(not options.loopback or found.peers or found.trackers)


def _make_torrent(folder: Path, options: SeedOptions, emit: Emit) -> bytes:
    return create_torrent(
        folder, TorrentOptions(piece_length=options.piece_length, trackers=options.trackers), emit=emit
    )


def _serve_if_whole(folder: Path, torrent: bytes, emit: Emit) -> tuple[bytes, bytes] | None:
    """The torrent with its resume data if the folder holds every byte of it; else None."""
    metadata = read_torrent(torrent)
    if not _may_hold(folder, metadata):
        return None
    checked = check_pieces(folder, torrent, emit=emit)
    if checked.complete:
        return torrent, checked.resume
    emit(Skipped(f"serving {folder} as {metadata.name}", "its bytes are not those of that torrent"))
    return None


def _may_hold(folder: Path, metadata: Metadata) -> bool:
    """Whether every file of the torrent is there, in its size."""
    paths = [(folder / file.path, file.size) for file in metadata.files]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _serve_whole(folder: Path, torrent: bytes, emit: Emit) -> tuple[bytes, bytes]:
    """The torrent with its resume data. Raises ``WrongBytesError`` if a piece is not good."""
    checked = check_pieces(folder, torrent, emit=emit)
    if not checked.complete:  # a file may have changed even since a torrent was just made of it
        raise _not_whole(folder, checked)
    return torrent, checked.resume


def _not_whole(folder: Path, checked: Checked) -> WrongBytesError:
    more = ", …" if len(checked.damaged) > MAX_NAMED_FILES else ""
    names = ", ".join(checked.damaged[:MAX_NAMED_FILES]) + more
    return WrongBytesError(
        f"{folder}: these are not, or not all, the bytes of its torrent: {names}",
        hint="fetch it to complete or mend it; if you changed it on purpose, remove its "
        f"{STATE_FOLDER} folder, and it is published as a new torrent",
        paths=checked.damaged,
    )
