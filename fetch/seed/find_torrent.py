"""Which torrent a folder is served as: its own, one that was offered, that of the release that it is, or a new one.

Whichever it is, every piece has been hashed against it before the first is served.
"""

from collections.abc import Callable
from pathlib import Path

from magnetar.errors import MetadataTimeout, WrongBytesError
from magnetar.events import Emit, Remarked
from magnetar.fetch.download.check_on_disk import Checked, check_pieces
from magnetar.fetch.download.state_folder import read_kept_torrent
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.swarm.discovery import find_metadata, reachable
from magnetar.fetch.swarm.protocol import Swarm
from magnetar.fetch.torrent.create import TorrentWish, create_torrent
from magnetar.fetch.torrent.metadata import Metadata, is_same
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER

LinkOf = Callable[[Path], Magnet | None]
"""The link of the release that a folder seems to be; None where it seems to be none that is known."""


def unknown(_folder: Path) -> Magnet | None:
    """A ``LinkOf`` that knows no release."""
    return None


def find_torrent(swarm: Swarm, folder: Path, options: SeedOptions, link_of: LinkOf, emit: Emit) -> tuple[bytes, bytes]:
    """A folder's torrent, and resume data that claims every piece, after each was hashed.

    Raises ``WrongBytesError`` if the folder has a torrent of its own and a piece is not good, and ``MetadataTimeout``
    if the swarm of the release that it is does not say what its pieces are.
    """
    kept = read_kept_torrent(folder)
    if kept:
        return _whole(folder, kept, emit)
    for torrent in options.torrents:
        if found := _as_offered(folder, torrent, emit):
            return found
    link = None if options.new_torrent else link_of(folder)
    if link is None:
        return _whole(folder, _new_torrent(folder, options, emit), emit)
    return _as_release(swarm, folder, link, options, emit)


def _as_release(swarm: Swarm, folder: Path, link: Magnet, options: SeedOptions, emit: Emit) -> tuple[bytes, bytes]:
    """Serve under the infohash of ``link``, so that the release's swarm is not split."""
    made = _new_torrent(folder, options, emit) if link.infohash_v2 else b""  # ours are hybrid: it may be that one
    if made and is_same(read_torrent(made), link):
        return _whole(folder, made, emit)
    if _somebody_can_be_asked(link, options):
        emit(
            Remarked(
                f"{folder}: its files are those of {link.name or link.infohash}: asking that swarm for its metadata"
            )
        )
        if found := _as_offered(folder, _metadata(swarm, folder, link, options, emit), emit):
            return found
    return _whole(folder, made or _new_torrent(folder, options, emit), emit)


def _metadata(swarm: Swarm, folder: Path, link: Magnet, options: SeedOptions, emit: Emit) -> bytes:
    try:
        torrent, _ = find_metadata(swarm, link, folder.parent, options, emit)
    except MetadataTimeout as error:
        error.hint = (
            "those who look for that release find you only with its metadata: give it with --torrent FILE, "
            "or try later; --new-torrent serves it under a link of its own"
        )
        raise
    return torrent


def _somebody_can_be_asked(link: Magnet, options: SeedOptions) -> bool:
    """On loopback there is nobody but those who were named."""
    found = reachable(link, options)
    return bool(not options.loopback or found.peers or found.trackers)


def _new_torrent(folder: Path, options: SeedOptions, emit: Emit) -> bytes:
    wish = TorrentWish(piece_length=options.piece_length, trackers=options.trackers)
    return create_torrent(folder, wish, emit=emit)


def _as_offered(folder: Path, torrent: bytes, emit: Emit) -> tuple[bytes, bytes] | None:
    """The torrent with its resume data if the folder holds every byte of it; else None."""
    metadata = read_torrent(torrent)
    if not _may_hold(folder, metadata):
        return None
    checked = check_pieces(folder, torrent, emit=emit)
    if checked.complete:
        return torrent, checked.resume
    emit(Remarked(f"{folder}: not served as {metadata.name}: its bytes are not those"))
    return None


def _may_hold(folder: Path, metadata: Metadata) -> bool:
    """Whether every file of the torrent is there, in its size."""
    paths = [(folder / file.path, file.size) for file in metadata.files]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _whole(folder: Path, torrent: bytes, emit: Emit) -> tuple[bytes, bytes]:
    checked = check_pieces(folder, torrent, emit=emit)
    if not checked.complete:  # of a torrent that was just made: a file changed meanwhile
        raise _not_whole(folder, checked)
    return torrent, checked.resume


def _not_whole(folder: Path, checked: Checked) -> WrongBytesError:
    names = ", ".join(checked.damaged[:5]) + (", …" if len(checked.damaged) > 5 else "")
    return WrongBytesError(
        f"{folder}: these are not, or not all, the bytes of its torrent: {names}",
        hint="fetch it to complete or mend it; if you changed it on purpose, remove its "
        f"{STATE_FOLDER} folder, and it is published as a new torrent",
    )
