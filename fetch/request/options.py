"""How a download or a seeding is to be done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magnetar.fetch.request.mirrors import Mirror
from magnetar.manifests.hashing.digests import Digest

Encryption = Literal["allowed", "required", "refused"]


@dataclass(frozen=True, slots=True)
class Network:
    """How a swarm meets the world.

    ``listen`` is ``host:port``, several joined by commas; "" leaves the choice to us, on ``port`` (0: any) and
    ``interface`` ("": all). ``loopback`` stays on 127.0.0.1 and asks nobody else. ``offline`` neither listens nor
    connects: enough to check what is on disk. ``utp`` connects over uTP from the beginning, ``upload`` False sends no
    payload. ``bootstrap`` are the first nodes of the DHT to ask, ``host:port`` each; empty leaves them to the library.
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
    """How to meet the swarm. Limits are in bytes a second, and hold for nearby peers too.

    ``peers`` and ``trackers`` are asked besides those of the link, and so are well-known ``fallback_trackers``, unless
    the torrent is private. ``metadata_timeout``, in seconds, is the longest wait for what a link leads to.

    ``dht`` looks for peers in the distributed hash table, beginning at ``dht_nodes`` (``host:port`` each) instead of
    the well-known nodes if any are given. ``trackers_only`` asks nobody but trackers and the peers
    that were named: no DHT, no exchange of peers. ``lan`` also calls for peers on the local network (BEP 14).
    ``loopback`` stays on 127.0.0.1 and asks only trackers and peers there.

    ``listen`` is ``host:port``; empty leaves the choice to us, on ``port`` if that is not 0, and on ``interface`` (the
    name of a network interface, or one of its addresses) alone if that is not empty: nothing goes by another way.
    ``proxy`` is ``socks5://[user:password@]host:port`` or ``http://…``: all connections pass through it, and nobody can
    connect to us. ``anonymous`` keeps the client's name and version to ourselves; it does not hide the address.

    ``encryption`` of the protocol is "allowed", "required" or "refused". ``utp`` connects over uTP from the beginning,
    rather than only when nothing comes: slower on fast lines, of use where a network throttles TCP.
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
        """The same, as a session takes it."""
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

    ``include`` and ``exclude`` are globs over paths below the release's folder and over bare file names, ``*`` crossing
    slashes: a file is wanted if it matches some ``include`` (or there are none) and no ``exclude``.

    ``adopt`` names files and folders that may hold some of the release already: what fits is copied from there (on file
    systems that can, without using space), or with ``adopt_links`` linked where the whole file is good.

    ``mirrors`` are asked by HTTP for what no peer has, or few have; every piece from them is hashed like any other.

    ``info_digest`` pins the torrent's info dictionary: metadata of any other digest is refused.

    ``room`` is told the folder of the release and the bytes of each wanted file by its path, and says how many bytes
    the caller will need on that disk besides: a download that would leave fewer is not begun.

    ``upload`` False takes without giving. After the last piece the swarm is left, unless ``seed`` says to stay until
    stopped, or ``seed_ratio`` (bytes sent for each byte of the release) or ``seed_time`` until that is reached.
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

    ``trackers`` also go into a new torrent's metadata; ``piece_length`` of it is in bytes. ``torrents`` are the bytes
    of ``.torrent`` files: a folder without a torrent of its own, whose files are those of one of them, is served under
    that one's infohash, so that its swarm is not split. ``new_torrent`` makes a new one rather than ask the swarm of
    the release that a folder is known to be.

    It ends when stopped, or for each release when ``seed_ratio`` (bytes sent for each byte of it) or ``seed_time``
    (seconds) is reached.
    """

    piece_length: int | None = None
    torrents: tuple[bytes, ...] = ()
    new_torrent: bool = False
    seed_ratio: float | None = None
    seed_time: float | None = None


DEFAULT_FETCH = FetchOptions()
DEFAULT_SEED = SeedOptions()


def what_others_see(options: SwarmOptions) -> tuple[str, ...]:
    """What to tell a user before the first join; nothing where the swarm is on this machine only."""
    if options.loopback:
        return ()
    if options.proxy:
        return ("the swarm and its trackers see the proxy's address, not this machine's; nobody can connect to us",)
    notes = ["everyone in the swarm, and every tracker that is asked, can see this machine's network address"]
    if options.anonymous:
        notes.append("anonymous: the client's name and version are not told; the network address still is")
    return tuple(notes)
