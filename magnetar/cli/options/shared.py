"""Options that several commands share, as groups: one value each for how to show, and for how to meet the swarm."""

import gc
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from magnetar.cli.exit_codes import exit_code_of
from magnetar.events import ProgressStyle

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.render.screen import Screen

SHOWING = "How it is shown"

option = partial(typer.Option, show_envvar=False)
"""Every option can come from the environment, as MAGNETAR_COMMAND_OPTION; saying so at each would drown the help."""

TargetText = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="A name of the catalog, a magnet link, an infohash, a .torrent file or URL."),
]
Directory = Annotated[
    Path, option("--dir", "-d", file_okay=False, help="The parent folder: the release lands in DIR/NAME.")
]
TargetFormat = Annotated[str, option("--to", metavar="FORMAT", help="hf, mistral, gguf, mlx or safetensors.")]
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


def parse_power_of_two(text: str) -> int:
    """``65536``, ``64k`` or ``4M`` bytes, where k is 1024."""
    match = re.fullmatch(r"(\d{1,12})\s*([kKmM]?)(?:i?[bB])?", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a length like 65536, 64k or 4M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20}[match[2].lower()]


SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def open_screen(command: str, showing: Showing) -> "Screen":
    """Where a command writes, as the user wants it."""
    from magnetar.render.screen import Screen

    if not gc.isenabled():  # what the work needs is imported by now, and stays
        gc.freeze()
        gc.enable()
    return Screen(
        command,
        as_json=showing.as_json,
        quiet=showing.quiet,
        progress=showing.progress,
        exit_code_of=exit_code_of,
    )


def finish(command: str, showing: Showing, work: Callable[["Emit"], Any], draw: Callable[[Any], Any]) -> NoReturn:
    """Do the work on a screen, and exit with its code."""
    raise typer.Exit(open_screen(command, showing).run(work, draw))
