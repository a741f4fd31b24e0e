"""The command line: each command parses, calls one function, hands the result to the screen, and exits.

Nothing heavy is imported up here, and of the commands only the one that was named: ``magnetar --help`` should answer
before the finger has left the key, and a command that takes a second should not spend half of it on the others.
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from magnetar import __version__
from magnetar.cli.options.shared import Showing, open_screen, option
from magnetar.errors import ExitCode, MagnetarError

COMMANDS = ("demo", "get", "fetch", "verify", "repair", "same", "convert", "boot", "inspect", "seed", "publish")
"""In the order of the help. Each is a module of that name with a function of that name, and its ``EXAMPLES``."""

GROUPS = ("catalog", "manifest")
"""The modules of commands that have commands below them. Each holds an ``app``."""

NAMES = (*COMMANDS, *GROUPS)
COMPLETION = "_MAGNETAR_COMPLETE"
"""Set by the shell that asks how to complete a line."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of ``ExitCode``."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    alone = words[0] in NAMES and COMPLETION not in os.environ
    app = build_app(words[:1] if alone else NAMES)
    signal.signal(signal.SIGTERM, _terminate)
    # Foreign plugins have no business in checking manifests, and looking for them takes as long as checking does.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = app(args=words, prog_name="magnetar", standalone_mode=False)
    except typer.TyperException as error:
        code = _refuse(words, ExitCode.USAGE, "UsageError", error.format_message())
    except MagnetarError as error:
        code = _refuse(words, error.exit_code, type(error).__name__, error.message, error.hint)
    sys.exit(code or 0)


def build_app(names: Iterable[str] = NAMES) -> typer.Typer:
    """The application with those of its commands."""
    app = typer.Typer(
        name="magnetar",
        epilog="Start with: magnetar demo. Every option can come from the environment: MAGNETAR_FETCH_DIR, and so on.",
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "MAGNETAR"},
    )
    app.callback()(_root)
    for name in names:
        module = import_module(f"magnetar.cli.commands.{name}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name, epilog=module.EXAMPLES)(getattr(module, name))
    return app


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    from magnetar.render.screen import Terminated

    raise Terminated


def _refuse(words: Sequence[str], code: ExitCode, kind: str, message: str, hint: str = "") -> int:
    """Say what is wrong with the words of the command line, or with the configuration behind them."""
    command = next((word for word in words if not word.startswith("-")), "")
    screen = open_screen(command, Showing(as_json="--json" in words))
    help_for = f"magnetar {command} --help" if command in COMMANDS else "magnetar --help"
    return screen.fail(code, kind, message, hint or help_for)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"magnetar {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From a magnet link to model weights that are proven to be the release, converted, and shown to work."""
    from magnetar.cli.config import load_config

    context.default_map = load_config(_all_options)


def _all_options() -> dict[str, dict[str, str]]:
    """The options of every command by their long names, with the parameters that they set."""
    commands: Any = getattr(typer.main.get_command(build_app()), "commands", {})
    return {name: _options(command) for name, command in commands.items()}


def _options(command: Any) -> dict[str, str]:
    pairs = ((text, parameter.name) for parameter in command.params for text in parameter.opts)
    return {text.removeprefix("--"): name for text, name in pairs if text.startswith("--") and text != "--help"}
