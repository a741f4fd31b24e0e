"""The mirrors of one torrent, and everything else that the threads which read from them share."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event, Lock

from magnetar.fetch.http.address_policy import AddressPolicy
from magnetar.fetch.http.client import Client
from magnetar.fetch.mirror.check_pieces import CheckedIntake, MirrorNews
from magnetar.fetch.mirror.mirror_source import MirrorSource, dropped_mirror
from magnetar.fetch.mirror.read_pieces import RateLimit
from magnetar.fetch.mirror.schedule import Schedule
from magnetar.fetch.request.mirrors import FileMirror, Mirror, ReleaseMirror, named_hosts
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.protocol import Intake
from magnetar.fetch.torrent.known_torrent import KnownTorrent
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.piece_digests import read_digests
from magnetar.fetch.torrent.piece_layout import PieceLayout, read_layout

MAX_PIECE_MEMORY = 64 << 20
"""Bytes of pieces that are being read, or wait for their hash: half for each, and at least one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPool:
    """What the reader threads of one torrent share.

    ``lock`` must be held to use ``schedule``. Mirrors serve only pieces whose hash is known: ``knows_all_hashes`` says
    that these are all. ``archives`` are tars in which the files must be found first. ``news``
    holds what the thread that owns the transfer should emit. Once ``stop`` is set, nobody reads any more.
    """

    intake: Intake
    metadata: Metadata
    layout: PieceLayout
    client: Client
    schedule: Schedule
    checked: CheckedIntake
    knows_all_hashes: bool
    rate: RateLimit
    archives: deque[ReleaseMirror]
    news: deque[MirrorNews]
    stop: Event
    lock: Lock

    def add(self, mirrors: Iterable[FileMirror]) -> None:
        """Schedule the mirrors of the release's files; one of any other file is dropped. ``lock`` must be held."""
        sizes = {str(file.path): file.size for file in self.metadata.files}
        for mirror in mirrors:
            if mirror.path not in sizes:
                self.news.append(dropped_mirror(mirror, f"the release has no file {mirror.path}"))
            elif sizes[mirror.path]:  # an empty file has no pieces
                self.schedule.add(MirrorSource(mirror, sizes[mirror.path], self.client))


def open_pool(intake: Intake, torrent: KnownTorrent, options: FetchOptions) -> MirrorPool:
    """The pool of ``options.mirrors``, with a client of its own. Nothing is asked of anybody yet."""
    layout, digests = read_layout(torrent.content), read_digests(torrent.content)
    policy = AddressPolicy(named_hosts(options.mirrors), only_loopback=options.loopback)
    schedule, stop, news = Schedule(layout, digests), Event(), deque[MirrorNews]()
    files, archives = sort_mirrors(options.mirrors, torrent.metadata)
    pool = MirrorPool(
        intake=intake,
        metadata=torrent.metadata,
        layout=layout,
        client=Client(policy, proxy=options.proxy, interface=options.interface),
        schedule=schedule,
        checked=CheckedIntake(intake, schedule, digests, MAX_PIECE_MEMORY // 2, stop, news.append),
        knows_all_hashes=len(digests) == torrent.metadata.piece_count,
        rate=RateLimit(options.download_limit, stop),
        archives=deque(archives),
        news=news,
        stop=stop,
        lock=Lock(),
    )
    pool.add(files)
    return pool


def sort_mirrors(
    mirrors: Iterable[Mirror], metadata: Metadata
) -> tuple[tuple[FileMirror, ...], tuple[ReleaseMirror, ...]]:
    """The mirrors of single files, and the archives in which the files must be found first."""
    files: list[FileMirror] = []
    archives: list[ReleaseMirror] = []
    for mirror in mirrors:
        if isinstance(mirror, FileMirror):
            files.append(mirror)
        elif mirror.is_archive:
            archives.append(mirror)
        else:
            files += mirror.files(metadata)
    return tuple(files), tuple(archives)
