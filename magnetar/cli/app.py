"""The program: builds the command that was named, runs it, and turns errors into messages and exit codes.

Nothing heavy is imported here, and of the commands only the one that was named: ``magnetar --help`` should answer at
once, and a quick command should not spend half of its time on importing the others.
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from magnetar.cli.options.display import DisplayFlags, open_screen
from magnetar.cli.options.groups import option
from magnetar.errors import MagnetarError, UsageError
from magnetar.version import __version__

COMMANDS = (
    "demo",
    "get",
    "fetch",
    "verify",
    "identify",
    "repair",
    "same",
    "convert",
    "boot",
    "inspect",
    "seed",
    "publish",
)
"""In the order of the help. Each is a module of ``commands`` with a function of the same name, and ``EXAMPLES``."""

GROUPS = ("catalog", "manifest")
"""Commands that have commands below them. The module of each holds an ``app``."""

NAMES = (*COMMANDS, *GROUPS)
COMPLETION_VARIABLE = "_MAGNETAR_COMPLETE"
"""The variable that a shell sets when it asks how to complete a line."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of ``ExitCode``."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    is_one_command = words[0] in NAMES and COMPLETION_VARIABLE not in os.environ
    app = build_app(words[:1] if is_one_command else NAMES)
    signal.signal(signal.SIGTERM, _terminate)
    # Plugins of other packages must not take part in checking manifests, and looking for them is slow.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = app(args=words, prog_name="magnetar", standalone_mode=False)
    except typer.TyperException as error:
        code = _refuse(words, UsageError(error.format_message()))
    except MagnetarError as error:
        code = _refuse(words, error)
    except Exception:  # a bug: its traceback is shown, and may quote foreign text
        from magnetar.render.screen import show_traceback

        sys.excepthook = show_traceback
        raise
    sys.exit(code or 0)


def build_app(names: Iterable[str] = NAMES) -> typer.Typer:
    """The application, with the commands of these names."""
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


def _refuse(words: Sequence[str], error: MagnetarError) -> int:
    """Show what is wrong with the words of the command line, or with the configuration file. Returns the exit code."""
    from magnetar.render.screen import Failure

    command = next((word for word in words if not word.startswith("-")), "")
    screen = open_screen(command, DisplayFlags(as_json="--json" in words))
    help_for = f"magnetar {command} --help" if command in COMMANDS else "magnetar --help"
    failed = Failure.of(error)
    return screen.fail(replace(failed, hint=failed.hint or help_for))


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
    """For every command, the parameter that each option sets, by the option's long name."""
    commands: Any = getattr(typer.main.get_command(build_app()), "commands", {})
    return {name: _options(command) for name, command in commands.items()}


def _options(command: Any) -> dict[str, str]:
    pairs = ((text, parameter.name) for parameter in command.params for text in parameter.opts)
    return {text.removeprefix("--"): name for text, name in pairs if text.startswith("--") and text != "--help"}
