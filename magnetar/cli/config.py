"""Defaults that the user keeps: ``config.toml``, a table for each command, a key for each of its options.

::

    [get]
    dir = "/data/weights"
    upload-limit = "5M"

A flag beats the environment, which beats this file.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from magnetar.characters import HIDDEN
from magnetar.errors import MalformedError

CONFIG_VARIABLE = "MAGNETAR_CONFIG"
MAX_CONFIG_BYTES = 64 << 10

Options = Mapping[str, str]
"""The options of one command: the parameter that each sets, by its long name without the dashes."""


def config_path() -> Path:
    """Where the file is: ``$MAGNETAR_CONFIG``, else in the platform's folder for configurations."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("magnetar", appauthor=False) / "config.toml"


def load_config(commands: Callable[[], Mapping[str, Options]]) -> dict[str, dict[str, Any]]:
    """The user's defaults: for each command, values by parameter. Empty where there is no file.

    ``commands`` lists the options of every command; it is called only if there is a file. Raises ``MalformedError``
    with the key that is not known, or the line that is not TOML.
    """
    path = config_path()
    try:
        content = path.read_bytes()[: MAX_CONFIG_BYTES + 1]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MalformedError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise MalformedError(f"{path}: has more than {MAX_CONFIG_BYTES} bytes", hint="it holds defaults, nothing more")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{path}: is not TOML: {error}", hint="mend it, or move it away") from error
    known = commands()
    return {command: _parameters(path, command, table, known) for command, table in tables.items()}


def _parameters(path: Path, command: str, table: object, commands: Mapping[str, Options]) -> dict[str, Any]:
    options = commands.get(command)
    if options is None or not isinstance(table, dict):
        raise MalformedError(f"{path}: [{command}] is no command", hint=f"its tables are {', '.join(sorted(commands))}")
    for key in table:
        if key not in options:
            raise MalformedError(
                f"{path}: [{command}] has no option {key}", hint=f"its options are {', '.join(sorted(options))}"
            )
        if isinstance(table[key], str) and HIDDEN.search(table[key]):  # --help shows it as the default
            raise MalformedError(f"{path}: [{command}] {key} has characters that are not seen", hint="take them out")
    return {options[key]: value for key, value in table.items()}
