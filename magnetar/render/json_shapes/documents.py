"""The object that ``--json`` prints: what every command has in common, around the result or the error."""

import json
from importlib import import_module
from typing import Any, Literal

from pydantic import TypeAdapter

from magnetar.render.json_shapes.base import FORMAT, Format, Shape, Text

COMMANDS = (
    *("demo", "get", "fetch", "verify", "repair", "same", "convert", "boot", "inspect", "seed", "publish"),
    *("catalog", "catalog show", "catalog add", "catalog remove"),
    *(f"manifest {word}" for word in ("create", "show", "check", "pin", "import", "tensors", "export")),
)
"""Every command that prints a result. ``catalog list`` prints that of ``catalog``."""


class Answered(Shape):
    """The command has a result. ``ok`` says that the exit code is 0; a result that is not good has another code."""

    format: Format = FORMAT
    command: Text
    ok: bool
    exit: int
    result: Any


class Error(Shape):
    """Why there is no result. ``kind`` is the name of the error, ``hint`` says what to do next, and may be empty."""

    kind: Text
    message: Text
    hint: Text


class Failed(Shape):
    """The command has no result: bad input, a failure of network or disk, or an interruption."""

    format: Format = FORMAT
    command: Text
    ok: Literal[False] = False
    exit: int
    error: Error


def answer(command: str, exit_code: int, result: object) -> str:
    """The document of a command with its result, as one line. ``exit_code`` is what the process will end with."""
    shape: TypeAdapter[Any] = TypeAdapter(result_shape(command))
    filled = shape.validate_python(result, from_attributes=True)
    printed = shape.dump_python(filled, mode="json")
    return _line(Answered(command=command, ok=exit_code == 0, exit=exit_code, result=printed))


def failure(command: str, exit_code: int, error: Error) -> str:
    """The document of a command that failed, as one line."""
    return _line(Failed(command=command, exit=exit_code, error=error))


def result_shape(command: str) -> Any:
    """The declared shape of the result of a command, which is named as it is typed: ``manifest show``."""
    module = import_module(f"magnetar.render.json_shapes.{command.split()[0]}")
    return module.RESULTS[command]


def _line(document: Shape) -> str:
    return json.dumps(document.model_dump(mode="json"))  # in ASCII, whatever the encoding of the terminal
