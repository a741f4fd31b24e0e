"""How to download or seed: every option, its unit and its default."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magnetar.fetch.request.mirrors import Mirror
from magnetar.manifests.hashing.digests import Digest

Encryption = Literal["allowed", "required", "refused"]


@dataclass(frozen=True, slots=True)
class Network:
    """How a session connects to the outside.

    ``listen`` is ``host:port``, several joined by commas. If it is empty, the session listens on ``port`` (0: any) of
    ``interface`` (empty: all). With ``loopback`` it stays on 127.0.0.1. With ``offline`` it neither listens nor
    connects, which is enough to check what is on disk. ``bootstrap`` are the first nodes of the DHT to ask,
    ``host:port`` each; if empty, those of libtorrent. ``utp`` connects over uTP from the beginning. With ``upload``
    False no payload is sent.
    """

    listen: str = ""
    port: int = 0
    interface: str = ""
    proxy: str = ""
    dht: bool = True
    bootstrap: tuple[str, ...] = ()
    peer_exchange: bool = True
    lan: bool = False
    loopback: bool = False
    offline: bool = False
    anonymous: bool = False
    encryption: Encryption = "allowed"
    utp: bool = False
    upload: bool = True


@dataclass(frozen=True, slots=True)
class SwarmOptions:
    """How to connect to a swarm. Limits are in bytes a second, and hold for peers on the local network too.

    ``peers`` and ``trackers`` are asked besides those of the link. With ``fallback_trackers``, well-known public ones
    are asked too, unless the torrent is private. ``metadata_timeout`` is how many seconds to wait for the metadata that
    a link leads to.

    ``dht`` looks for peers in the distributed hash table, beginning at ``dht_nodes`` (``host:port`` each) if there are
    any, else at the well-known nodes. ``trackers_only`` asks nobody but trackers and the peers that were named: no DHT,
    no exchange of peers. ``lan`` also calls for peers on the local network (BEP 14). ``loopback`` stays on 127.0.0.1
    and asks only trackers and peers there.

    ``listen`` is ``host:port``. If it is empty, the session listens on ``port``, or on one of its own choice if that is
    0. If ``interface`` (the name of a network interface, or one of its addresses) is not empty, everything goes through
    that one alone. ``proxy`` is ``socks5://[user:password@]host:port`` or ``http://…``: all connections pass through
    it, and nobody can connect to us. ``anonymous`` does not tell the client's name and version; it does not hide the
    address.

    ``encryption`` of the protocol is "allowed", "required" or "refused". ``utp`` connects over uTP from the beginning,
    rather than only when nothing comes. That is slower on fast lines, and helps where a network throttles TCP.
    """

    peers: tuple[tuple[str, int], ...] = ()
    trackers: tuple[str, ...] = ()
    fallback_trackers: bool = True
    metadata_timeout: float = 120.0
    dht: bool = True
    dht_nodes: tuple[str, ...] = ()
    trackers_only: bool = False
    lan: bool = False
    loopback: bool = False
    listen: str = ""
    port: int = 0
    interface: str = ""
    proxy: str = ""
    anonymous: bool = False
    encryption: Encryption = "allowed"
    utp: bool = False
    download_limit: int | None = None
    upload_limit: int | None = None

    @property
    def network(self) -> Network:
        """The options of the session alone."""
        return Network(
            listen=self.listen,
            port=self.port,
            interface=self.interface,
            proxy=self.proxy,
            dht=self.dht and not self.trackers_only,
            bootstrap=self.dht_nodes,
            peer_exchange=not self.trackers_only,
            lan=self.lan,
            loopback=self.loopback,
            anonymous=self.anonymous,
            encryption=self.encryption,
            utp=self.utp,
        )


@dataclass(frozen=True, slots=True)
class FetchOptions(SwarmOptions):
    """How to fetch. Times are in seconds.

    ``include`` and ``exclude`` are globs over paths below the release's folder and over bare file names; ``*`` matches
    slashes too. A file is wanted if it matches some ``include`` (or there are none) and no ``exclude``.

    ``adopt`` names files and folders that may hold some of the release already. What fits is copied from there, without
    using space on file systems that can share it. With ``adopt_links``, a file that is good as a whole is linked.

    ``mirrors`` are asked by HTTP for pieces that no peer, or few peers, have; every piece from them is hashed like any
    other.

    ``info_digest`` pins the torrent's info dictionary: metadata with any other digest is refused.

    ``room`` is called with the release's folder and the size of each wanted file by its path. It returns how many bytes
    the caller will need on that disk afterwards. A download that would not leave so many is not begun.

    ``upload`` False sends no payload. After the last piece the swarm is left, unless ``seed`` says to stay until
    stopped, or ``seed_ratio`` (bytes sent for each byte of the release) or ``seed_time`` says to stay until that is
    reached.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    adopt: tuple[Path, ...] = ()
    adopt_links: bool = False
    mirrors: tuple[Mirror, ...] = ()
    info_digest: Digest | None = None
    room: Callable[[Path, Mapping[str, int]], int] | None = None
    stall_timeout: float = 300.0
    upload: bool = True
    seed: bool = False
    seed_ratio: float | None = None
    seed_time: float | None = None

    @property
    def stays(self) -> bool:
        """Whether to go on seeding after the last piece."""
        return self.seed or self.seed_ratio is not None or self.seed_time is not None


@dataclass(frozen=True, slots=True)
class SeedOptions(SwarmOptions):
    """How to seed.

    ``trackers`` also go into the metadata of a new torrent, and ``piece_length`` is that of a new torrent, in bytes.
    ``torrents`` are the bytes of ``.torrent`` files. A folder that remembers no torrent, and whose files are those of
    one of them, is served under that one's infohash, so that its swarm is not split. ``new_torrent`` makes a new
    torrent, rather than ask the swarm of the release that a folder is known to be.

    A seeding ends when it is stopped, or, for each release, when ``seed_ratio`` (bytes sent for each byte of it) or
    ``seed_time`` (seconds) is reached.
    """

    piece_length: int | None = None
    torrents: tuple[bytes, ...] = ()
    new_torrent: bool = False
    seed_ratio: float | None = None
    seed_time: float | None = None


DEFAULT_FETCH = FetchOptions()
DEFAULT_SEED = SeedOptions()


def what_others_see(options: SwarmOptions) -> tuple[str, ...]:
    """What a user should know before the first join; nothing if the swarm is on this machine only."""
    if options.loopback:
        return ()
    if options.proxy:
        return ("the swarm and its trackers see the proxy's address, not this machine's; nobody can connect to us",)
    notes = ["everyone in the swarm, and every tracker that is asked, can see this machine's network address"]
    if options.anonymous:
        notes.append("anonymous: the client's name and version are not told; the network address still is")
    return tuple(notes)
