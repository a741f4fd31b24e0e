"""Options of the commands that meet a swarm: the fields of ``SwarmOptions``, ``FetchOptions`` and ``SeedOptions``."""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from magnetar.cli.options.shared import option, parse_amount, parse_power_of_two
from magnetar.errors import MagnetarError, UsageError

if TYPE_CHECKING:
    from magnetar.fetch.request.options import FetchOptions, SeedOptions

swarm = partial(option, rich_help_panel="Swarm")
payload = partial(option, rich_help_panel="What is fetched")
after = partial(option, rich_help_panel="After the last piece")

Rate = Annotated[int | None, swarm(parser=parse_amount, metavar="RATE", help="Bytes a second, like 20M.")]


def parse_duration(given: str | float) -> float:
    """``90``, ``90s``, ``15m``, ``12h`` or ``2d``, in seconds. A default comes as the number that it is."""
    text = str(given)
    scale = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * scale if scale else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise typer.BadParameter(f"{text!r} is not a duration like 90s, 15m, 12h or 2d")
    return seconds


def _parse_peer(text: str) -> tuple[str, int]:
    from magnetar.fetch.link.magnet import parse_peer

    try:
        return parse_peer(text)
    except MagnetarError as error:
        raise UsageError(f"--peer: {error.message}", hint=error.hint) from error


Ratio = Annotated[float | None, after("--seed-ratio", min=0.0, help="Seed until so many times its size is sent.")]
SeedTime = Annotated[
    float | None, after("--seed-time", parser=parse_duration, metavar="TIME", help="Seed for so long, like 12h.")
]


@dataclass(frozen=True)
class Meeting:
    """How a command meets the swarm."""

    peer: Annotated[list[str] | None, swarm("--peer", metavar="HOST:PORT", help="A peer to ask first. Repeatable.")] = (
        None
    )
    tracker: Annotated[list[str] | None, swarm("--tracker", metavar="URL", help="One more tracker. Repeatable.")] = None
    fallback_trackers: Annotated[
        bool, swarm("--fallback-trackers/--no-fallback-trackers", help="Well-known ones too, unless it is private.")
    ] = True
    metadata_timeout: Annotated[float, swarm(parser=parse_duration, metavar="TIME", help="Longest wait for it.")] = (
        120.0
    )
    dht: Annotated[bool, swarm("--dht/--no-dht", help="Look for peers in the distributed hash table.")] = True
    dht_node: Annotated[list[str] | None, swarm("--dht-node", metavar="HOST:PORT", help="Begin there. Repeatable.")] = (
        None
    )
    trackers_only: Annotated[bool, swarm("--trackers-only", help="No DHT and no exchange of peers.")] = False
    lan: Annotated[bool, swarm("--lan", help="Call for peers on the local network too.")] = False
    loopback: Annotated[bool, swarm("--loopback", help="Stay on 127.0.0.1, and ask nobody else.")] = False
    listen: Annotated[str, swarm("--listen", metavar="ADDRESS:PORT", help="Where peers reach us.")] = ""
    port: Annotated[int, swarm("--port", min=0, max=65535, help="The port alone; 0 takes any.")] = 0
    interface: Annotated[str, swarm("--interface", help="Nothing goes by another one: a name or an address.")] = ""
    proxy: Annotated[str, swarm("--proxy", metavar="URL", help="socks5://[user:password@]host:port, or http://.")] = ""
    anonymous: Annotated[
        bool, swarm("--anonymous", help="Do not tell the client's name. The address is seen all the same.")
    ] = False
    encryption: Annotated[Literal["allowed", "required", "refused"], swarm("--encryption")] = "allowed"
    utp: Annotated[bool, swarm("--utp", help="uTP from the beginning: slow, but where TCP is throttled.")] = False
    upload_limit: Rate = None

    def _shared(self) -> dict[str, Any]:
        """The fields under the names that ``SwarmOptions`` has for them."""
        same = {field.name: getattr(self, field.name) for field in fields(Meeting)}
        lists = {"peer": "peers", "tracker": "trackers", "dht_node": "dht_nodes"}
        given = {plural: tuple(same.pop(singular) or ()) for singular, plural in lists.items()}
        return {**same, **given, "peers": tuple(map(_parse_peer, given["peers"]))}


@dataclass(frozen=True)
class Taking(Meeting):
    """Where a command takes payload from, and how long it waits for it."""

    adopt: Annotated[
        list[Path] | None,
        payload("--adopt", metavar="PATH", exists=True, help="Take from there what fits. Repeatable."),
    ] = None
    mirror: Annotated[
        list[str] | None,
        payload("--mirror", metavar="URL", help="A folder, tar or file to take by HTTP. Repeatable."),
    ] = None
    mirrors: Annotated[bool, payload("--mirrors/--no-mirrors", help="Use the mirrors of the release's manifest.")] = (
        True
    )
    stall_timeout: Annotated[float, swarm(parser=parse_duration, metavar="TIME", help="Longest wait for payload.")] = (
        300.0
    )
    download_limit: Rate = None
    upload: Annotated[bool, swarm("--upload/--no-upload", help="Give while taking.")] = True

    def _taken(self) -> dict[str, Any]:
        """The fields under the names that ``FetchOptions`` has for them."""
        from magnetar.fetch.request.mirrors import ReleaseMirror

        return {
            **self._shared(),
            "adopt": tuple(self.adopt or ()),
            "mirrors": tuple(ReleaseMirror(url, named=True) for url in self.mirror or ()),
            "stall_timeout": self.stall_timeout,
            "download_limit": self.download_limit,
            "upload": self.upload,
        }

    def options(self) -> "FetchOptions":
        """The same, as ``repair`` takes it."""
        from magnetar.fetch.request.options import FetchOptions

        return FetchOptions(**self._taken())


@dataclass(frozen=True)
class Fetching(Taking):
    """How a command fetches."""

    include: Annotated[
        list[str] | None, payload("--include", metavar="GLOB", help="Only files that match. Repeatable.")
    ] = None
    exclude: Annotated[
        list[str] | None, payload("--exclude", metavar="GLOB", help="No files that match. Repeatable.")
    ] = None
    adopt_links: Annotated[bool, payload("--adopt-links", help="Link whole files that were adopted.")] = False
    seed: Annotated[bool, after("--seed", help="Go on seeding until stopped.")] = False
    seed_ratio: Ratio = None
    seed_time: SeedTime = None

    def options(self) -> "FetchOptions":
        """The same, as ``fetch`` takes it."""
        from magnetar.fetch.request.options import FetchOptions

        return FetchOptions(
            **self._taken(),
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            adopt_links=self.adopt_links,
            seed=self.seed,
            seed_ratio=self.seed_ratio,
            seed_time=self.seed_time,
        )


@dataclass(frozen=True)
class Serving(Meeting):
    """How a command seeds."""

    piece_length: Annotated[
        int | None, option("--piece-length", parser=parse_power_of_two, metavar="BYTES", help="Of a new torrent: 2^n.")
    ] = None
    torrent: Annotated[
        list[Path] | None,
        option("--torrent", metavar="FILE", exists=True, dir_okay=False, help="Serve as this one, if it fits."),
    ] = None
    new_torrent: Annotated[
        bool, option("--new-torrent", help="Make one, even for a release of the catalog: a swarm of its own.")
    ] = False
    seed_ratio: Ratio = None
    seed_time: SeedTime = None

    def options(self) -> "SeedOptions":
        """The same, as ``seed`` takes it."""
        from magnetar.fetch.request.options import SeedOptions
        from magnetar.fetch.torrent.metainfo import read_torrent_file

        return SeedOptions(
            **self._shared(),
            piece_length=self.piece_length,
            torrents=tuple(read_torrent_file(path) for path in self.torrent or ()),
            new_torrent=self.new_torrent,
            seed_ratio=self.seed_ratio,
            seed_time=self.seed_time,
        )
