"""Options that several commands share, as groups: one value each for how to show, and for how to meet the swarm."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from magnetar.events import ProgressStyle

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.options import FetchOptions, SeedOptions
    from magnetar.render import Screen

SHOWING = "How it is shown"
NETWORK = "Swarm"

option = partial(typer.Option, show_envvar=False)
"""Every option can come from the environment, as MAGNETAR_COMMAND_OPTION; saying so at each would drown the help."""

TargetText = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="A release of the catalog, a magnet link, an infohash or a .torrent file."),
]
Directory = Annotated[
    Path, option("--dir", "-d", file_okay=False, help="The parent folder: the release lands in DIR/NAME.")
]
TargetFormat = Annotated[str, option("--to", metavar="FORMAT", help="The target format: hf.")]
ManifestChoice = Annotated[
    str | None, option("--manifest", "-m", metavar="NAME|FILE", help="What the files should be.")
]


def gathers(name: str, group: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that are the fields of ``group``, and hand them to it as one value called ``name``."""
    taken = inspect.signature(group).parameters

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function)

        @wraps(function)
        def command(**values: Any) -> None:
            gathered = group(**{key: values.pop(key) for key in taken})
            function(**values, **{name: gathered})

        merged = [*(p for p in own.parameters.values() if p.name != name), *taken.values()]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in merged]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


@dataclass(frozen=True, slots=True)
class Showing:
    """How a command shows what it does."""

    as_json: Annotated[bool, option("--json", help="Print one JSON object as the result.", rich_help_panel=SHOWING)] = (
        False
    )
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the result.", rich_help_panel=SHOWING)] = False
    progress: Annotated[
        ProgressStyle,
        option("--progress", help="Progress on stderr: bars on a terminal, else lines.", rich_help_panel=SHOWING),
    ] = ProgressStyle.AUTO


def parse_amount(text: str) -> int:
    """``750k``, ``20M`` or ``1.5G`` bytes a second, decimal."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)[bB]?", text.strip())
    if match is None or (rate := int(float(match[1]) * SCALES[match[2].lower()])) <= 0:
        raise typer.BadParameter(f"{text!r} is not an amount like 750k, 20M or 1.5G")
    return rate


SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class Meeting:
    """How a command meets the swarm."""

    peer: Annotated[
        list[str] | None,
        option("--peer", metavar="HOST:PORT", help="A peer to ask first. Repeatable.", rich_help_panel=NETWORK),
    ] = None
    tracker: Annotated[
        list[str] | None,
        option("--tracker", metavar="URL", help="One more tracker. Repeatable.", rich_help_panel=NETWORK),
    ] = None
    dht: Annotated[bool, option("--dht/--no-dht", help="Look for peers in the DHT.", rich_help_panel=NETWORK)] = True
    loopback: Annotated[
        bool, option("--loopback", help="Stay on 127.0.0.1, and ask nobody else.", rich_help_panel=NETWORK)
    ] = False
    listen: Annotated[
        str, option("--listen", metavar="ADDRESS:PORT", help="Where peers reach us.", rich_help_panel=NETWORK)
    ] = ""
    upload_limit: Annotated[
        int | None,
        option(parser=parse_amount, metavar="RATE", help="Bytes a second, like 750k.", rich_help_panel=NETWORK),
    ] = None

    def shared(self) -> dict[str, Any]:
        """The options that fetching and seeding have in common, under the names that both take."""
        from magnetar.fetch.magnet import parse_peer

        return {
            "peers": tuple(parse_peer(text) for text in self.peer or ()),
            "trackers": tuple(self.tracker or ()),
            "dht": self.dht,
            "loopback": self.loopback,
            "listen": self.listen,
            "upload_limit": self.upload_limit,
        }


@dataclass(frozen=True)
class Fetching(Meeting):
    """How a command fetches."""

    fallback_trackers: Annotated[
        bool,
        option(
            "--fallback-trackers/--no-fallback-trackers",
            help="Ask well-known public trackers too; never for a private torrent.",
            rich_help_panel=NETWORK,
        ),
    ] = True
    metadata_timeout: Annotated[
        float, option(min=0.1, metavar="SECONDS", help="Longest wait for metadata.", rich_help_panel=NETWORK)
    ] = 120.0
    stall_timeout: Annotated[
        float, option(min=0.1, metavar="SECONDS", help="Longest wait for payload.", rich_help_panel=NETWORK)
    ] = 300.0
    download_limit: Annotated[
        int | None,
        option(parser=parse_amount, metavar="RATE", help="Bytes a second, like 20M.", rich_help_panel=NETWORK),
    ] = None

    def options(self) -> "FetchOptions":
        """The same, as ``fetch`` takes it."""
        from magnetar.fetch.options import FetchOptions

        return FetchOptions(
            **self.shared(),
            fallback_trackers=self.fallback_trackers,
            metadata_timeout=self.metadata_timeout,
            stall_timeout=self.stall_timeout,
            download_limit=self.download_limit,
        )


@dataclass(frozen=True)
class Serving(Meeting):
    """How a command seeds."""

    piece_length: Annotated[
        int | None,
        option(metavar="BYTES", help="Of a new torrent: a power of two.", rich_help_panel=NETWORK),
    ] = None

    def options(self) -> "SeedOptions":
        """The same, as ``seed`` takes it."""
        from magnetar.fetch.options import SeedOptions

        return SeedOptions(**self.shared(), piece_length=self.piece_length)


def open_screen(command: str, showing: Showing) -> "Screen":
    """Where a command writes, as the user wants it."""
    from magnetar.render import Screen

    return Screen(command, as_json=showing.as_json, quiet=showing.quiet, progress=showing.progress)


def finish(command: str, showing: Showing, work: Callable[["Emit"], Any], draw: Callable[[Any], Any]) -> NoReturn:
    """Do the work on a screen, and exit with its code."""
    raise typer.Exit(open_screen(command, showing).run(work, draw))
