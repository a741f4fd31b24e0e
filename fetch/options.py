"""How a download or a seeding is to be done."""

from dataclasses import dataclass

from magnetar.fetch.protocol import Network


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to fetch. Times are in seconds, limits in bytes a second.

    ``peers`` and ``trackers`` are asked besides those of the link. ``loopback`` stays on 127.0.0.1 and asks only
    trackers and peers there. ``listen`` is ``host:port``; empty leaves the choice to us.
    """

    peers: tuple[tuple[str, int], ...] = ()
    trackers: tuple[str, ...] = ()
    fallback_trackers: bool = True
    dht: bool = True
    loopback: bool = False
    listen: str = ""
    metadata_timeout: float = 120.0
    stall_timeout: float = 300.0
    download_limit: int | None = None
    upload_limit: int | None = None

    @property
    def network(self) -> Network:
        return Network(listen=self.listen, dht=self.dht, loopback=self.loopback)


@dataclass(frozen=True, slots=True)
class SeedOptions:
    """How to seed. ``trackers`` go into a new torrent's metadata and are announced to; ``piece_length`` is in bytes."""

    peers: tuple[tuple[str, int], ...] = ()
    trackers: tuple[str, ...] = ()
    dht: bool = True
    loopback: bool = False
    listen: str = ""
    upload_limit: int | None = None
    piece_length: int | None = None

    @property
    def network(self) -> Network:
        return Network(listen=self.listen, dht=self.dht, loopback=self.loopback)


DEFAULT_FETCH = FetchOptions()
DEFAULT_SEED = SeedOptions()
