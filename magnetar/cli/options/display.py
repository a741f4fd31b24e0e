"""How a command shows its work: the options for that, and the screen that they lead to."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from magnetar.cli.exit_codes import exit_code_of
from magnetar.cli.options.groups import option
from magnetar.events import ProgressStyle

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.render.screen import Screen

PANEL = "What is printed"


@dataclass(frozen=True, slots=True)
class DisplayFlags:
    """How a command shows its result and its progress."""

    as_json: Annotated[
        bool,
        option("--json", help="Print the result as one JSON object (docs/json.md).", rich_help_panel=PANEL),
    ] = False
    quiet: Annotated[
        bool, option("--quiet", "-q", help="Print the result, and no progress.", rich_help_panel=PANEL)
    ] = False
    progress: Annotated[
        ProgressStyle,
        option(
            "--progress",
            help="How progress is shown on stderr. auto: bars on a terminal, else as plain; plain: a line for each "
            "step and each ten seconds; json: a line with a JSON object for each event; none: not at all.",
            rich_help_panel=PANEL,
        ),
    ] = ProgressStyle.AUTO


def open_screen(command: str, display: DisplayFlags) -> "Screen":
    """The screen of a command. ``command`` is its name, as it is printed in JSON."""
    from magnetar.render.screen import Screen

    if not gc.isenabled():  # what the work needs is imported by now, and stays
        gc.freeze()
        gc.enable()
    return Screen(
        command,
        as_json=display.as_json,
        quiet=display.quiet,
        progress=display.progress,
        exit_code_of=exit_code_of,
    )


def finish(command: str, display: DisplayFlags, work: Callable[["Emit"], Any], draw: Callable[[Any], Any]) -> NoReturn:
    """Do the work, show its result, and exit with its code."""
    raise typer.Exit(open_screen(command, display).run(work, draw))
