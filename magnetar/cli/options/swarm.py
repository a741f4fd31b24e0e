"""Options of the commands that join a swarm: the fields of ``SwarmOptions``, ``FetchOptions`` and ``SeedOptions``."""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from magnetar.cli.options.amounts import parse_amount, parse_duration, parse_power_of_two
from magnetar.cli.options.groups import option
from magnetar.errors import MagnetarError, UsageError

if TYPE_CHECKING:
    from magnetar.fetch.request.options import FetchOptions, SeedOptions

swarm_option = partial(option, rich_help_panel="The swarm")
payload_option = partial(option, rich_help_panel="What is fetched, and from where")
seeding_option = partial(option, rich_help_panel="How long to seed")


def _parse_peer(text: str) -> tuple[str, int]:
    from magnetar.fetch.link.magnet import parse_peer

    try:
        return parse_peer(text)
    except MagnetarError as error:
        raise UsageError(f"--peer: {error.message}", hint=error.hint) from error


SeedRatio = Annotated[
    float | None,
    seeding_option(
        "--seed-ratio",
        metavar="NUMBER",
        min=0.0,
        help="Seed until this many bytes were sent for each byte of the release, like 1.5.",
    ),
]
SeedTime = Annotated[
    float | None,
    seeding_option("--seed-time", parser=parse_duration, metavar="TIME", help="Seed for this long, like 90s or 12h."),
]


@dataclass(frozen=True)
class SwarmFlags:
    """How a command joins the swarm."""

    peer: Annotated[
        list[str] | None,
        swarm_option("--peer", metavar="HOST:PORT", help="Connect to this peer at once. Repeatable."),
    ] = None
    tracker: Annotated[
        list[str] | None,
        swarm_option("--tracker", metavar="URL", help="Ask this tracker besides those of the link. Repeatable."),
    ] = None
    fallback_trackers: Annotated[
        bool,
        swarm_option(
            "--fallback-trackers/--no-fallback-trackers",
            help="Ask well-known public trackers too, unless the torrent is private.",
        ),
    ] = True
    metadata_timeout: Annotated[
        float,
        swarm_option(
            "--metadata-timeout",
            parser=parse_duration,
            metavar="TIME",
            help="Give up when no peer has sent the torrent's metadata after this many seconds, or 2m.",
        ),
    ] = 120.0
    dht: Annotated[bool, swarm_option("--dht/--no-dht", help="Look for peers in the distributed hash table (DHT).")] = (
        True
    )
    dht_node: Annotated[
        list[str] | None,
        swarm_option(
            "--dht-node",
            metavar="HOST:PORT",
            help="Enter the DHT through this node, and not through the well-known ones. Repeatable.",
        ),
    ] = None
    trackers_only: Annotated[
        bool,
        swarm_option("--trackers-only", help="Find peers through trackers only: no DHT, and no exchange of peers."),
    ] = False
    lan: Annotated[bool, swarm_option("--lan", help="Look for peers on the local network too.")] = False
    loopback: Annotated[
        bool, swarm_option("--loopback", help="Use only trackers and peers on this machine (127.0.0.1).")
    ] = False
    listen: Annotated[
        str,
        swarm_option(
            "--listen", metavar="ADDRESS:PORT", help="Accept peers at this address. By default, at all, on --port."
        ),
    ] = ""
    port: Annotated[
        int,
        swarm_option("--port", metavar="NUMBER", min=0, max=65535, help="Accept peers on this port. 0: any free one."),
    ] = 0
    interface: Annotated[
        str,
        swarm_option(
            "--interface",
            metavar="NAME|ADDRESS",
            help="Use only this network interface, such as tun0. By default, all of them.",
        ),
    ] = ""
    proxy: Annotated[
        str,
        swarm_option(
            "--proxy",
            metavar="URL",
            help="Make all connections through this proxy: socks5://user:password@host:port, or http://. By default, "
            "mirrors are asked through that of the environment, and peers directly.",
        ),
    ] = ""
    anonymous: Annotated[
        bool,
        swarm_option(
            "--anonymous", help="Do not tell the name and version of this client. Peers still see your address."
        ),
    ] = False
    encryption: Annotated[
        Literal["allowed", "required", "refused"],
        swarm_option(
            "--encryption",
            metavar="WORD",
            help="Encrypted connections to peers: allowed, required or refused. Some networks slow others down.",
        ),
    ] = "allowed"
    utp: Annotated[
        bool,
        swarm_option(
            "--utp", help="Connect by uTP at once. By default uTP, which is slower, is tried when TCP brings nothing."
        ),
    ] = False
    upload_limit: Annotated[
        int | None,
        swarm_option(
            "--upload-limit",
            parser=parse_amount,
            metavar="RATE",
            help="Send at most this many bytes a second, like 20M. By default, as many as the line takes.",
        ),
    ] = None

    def _swarm_options(self) -> dict[str, Any]:
        """The fields under the names that ``SwarmOptions`` has for them."""
        same = {field.name: getattr(self, field.name) for field in fields(SwarmFlags)}
        lists = {"peer": "peers", "tracker": "trackers", "dht_node": "dht_nodes"}
        given = {plural: tuple(same.pop(singular) or ()) for singular, plural in lists.items()}
        return {**same, **given, "peers": tuple(map(_parse_peer, given["peers"]))}


@dataclass(frozen=True)
class DownloadFlags(SwarmFlags):
    """Where a command gets payload from, and how long it waits for it."""

    adopt: Annotated[
        list[Path] | None,
        payload_option(
            "--adopt",
            metavar="PATH",
            exists=True,
            help="Copy what is good from this file or folder before anything is downloaded. Repeatable.",
        ),
    ] = None
    mirror: Annotated[
        list[str] | None,
        payload_option(
            "--mirror",
            metavar="URL",
            help="Download from this HTTP mirror too: a folder (ending in /), a tar, or a single file. Repeatable.",
        ),
    ] = None
    mirrors: Annotated[
        bool, payload_option("--mirrors/--no-mirrors", help="Use the mirrors that the release's manifest names.")
    ] = True
    stall_timeout: Annotated[
        float,
        swarm_option(
            "--stall-timeout",
            parser=parse_duration,
            metavar="TIME",
            help="Give up when no payload has arrived for this many seconds, or 5m.",
        ),
    ] = 300.0
    download_limit: Annotated[
        int | None,
        swarm_option(
            "--download-limit",
            parser=parse_amount,
            metavar="RATE",
            help="Receive at most this many bytes a second, like 20M. By default, as many as come.",
        ),
    ] = None
    upload: Annotated[
        bool, swarm_option("--upload/--no-upload", help="Send payload to other peers while downloading.")
    ] = True

    def _download_options(self) -> dict[str, Any]:
        """The fields under the names that ``FetchOptions`` has for them."""
        from magnetar.fetch.request.mirrors import ReleaseMirror

        return {
            **self._swarm_options(),
            "adopt": tuple(self.adopt or ()),
            "mirrors": tuple(ReleaseMirror(url, named=True) for url in self.mirror or ()),
            "stall_timeout": self.stall_timeout,
            "download_limit": self.download_limit,
            "upload": self.upload,
        }

    def options(self) -> "FetchOptions":
        """The options as ``repair`` takes them."""
        from magnetar.fetch.request.options import FetchOptions

        return FetchOptions(**self._download_options())


@dataclass(frozen=True)
class FetchFlags(DownloadFlags):
    """How a command fetches a release."""

    include: Annotated[
        list[str] | None,
        payload_option("--include", metavar="GLOB", help="Fetch only files that match, like '*.json'. Repeatable."),
    ] = None
    exclude: Annotated[
        list[str] | None,
        payload_option("--exclude", metavar="GLOB", help="Do not fetch files that match. Repeatable."),
    ] = None
    adopt_links: Annotated[
        bool, payload_option("--adopt-links", help="Make hard links to whole files of --adopt, and not copies.")
    ] = False
    seed: Annotated[
        bool,
        seeding_option("--seed", help="Seed until stopped. By default, the swarm is left when everything is here."),
    ] = False
    seed_ratio: SeedRatio = None
    seed_time: SeedTime = None

    def options(self) -> "FetchOptions":
        """The options as ``fetch`` takes them."""
        from magnetar.fetch.request.options import FetchOptions

        return FetchOptions(
            **self._download_options(),
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            adopt_links=self.adopt_links,
            seed=self.seed,
            seed_ratio=self.seed_ratio,
            seed_time=self.seed_time,
        )


@dataclass(frozen=True)
class SeedFlags(SwarmFlags):
    """How a command seeds folders."""

    piece_length: Annotated[
        int | None,
        option(
            "--piece-length",
            parser=parse_power_of_two,
            metavar="SIZE",
            help="The length of a piece of a new torrent: a power of two, like 4M. By default, by the folder's size.",
        ),
    ] = None
    torrent: Annotated[
        list[Path] | None,
        option(
            "--torrent",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Serve the folder whose files fit as this torrent. Repeatable.",
        ),
    ] = None
    new_torrent: Annotated[
        bool,
        option(
            "--new-torrent",
            help="Make a new torrent, and so a new swarm, even if the folder is a release of the catalog.",
        ),
    ] = False
    seed_ratio: SeedRatio = None
    seed_time: SeedTime = None

    def options(self) -> "SeedOptions":
        """The options as ``seed`` takes them."""
        from magnetar.fetch.request.options import SeedOptions
        from magnetar.fetch.torrent.metainfo import read_torrent_file

        return SeedOptions(
            **self._swarm_options(),
            piece_length=self.piece_length,
            torrents=tuple(read_torrent_file(path) for path in self.torrent or ()),
            new_torrent=self.new_torrent,
            seed_ratio=self.seed_ratio,
            seed_time=self.seed_time,
        )
