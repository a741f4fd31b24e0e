"""The object that ``--json`` prints: what every command has in common, around the result or the error."""

import json
from importlib import import_module
from typing import Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, field_validator

from magnetar.render.json_shapes.base import FORMAT, Format, Shape, Text

COMMANDS = (
    *("demo", "get", "fetch", "verify", "identify", "repair", "same", "convert", "boot", "inspect"),
    *("seed", "publish"),
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


class ErrorDetails(Shape):
    """The facts of an error. Only those that are known are printed.

    ``path`` and ``paths`` are the files at fault, ``key`` the key of a manifest, ``tensor`` the name of a tensor.
    ``needed`` and ``free`` are bytes of the disk; ``needed`` and ``limit`` are bytes of memory. ``missing`` of
    ``total`` bytes had not arrived after ``waited`` seconds. ``peers`` is the largest number of peers that were
    connected. ``rank`` is that of a process.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    path: Text = ""
    paths: list[Text] = Field(default_factory=list)
    key: Text = ""
    tensor: Text = ""
    needed: int | None = None
    free: int | None = None
    limit: int | None = None
    missing: int | None = None
    total: int | None = None
    waited: float | None = None
    peers: int | None = None
    infohash: Text = ""
    rank: int | None = None

    @field_validator("path", mode="before")
    @classmethod
    def _print_no_path_as_empty(cls, value: object) -> object:
        return "" if value is None else value


class Error(Shape):
    """Why there is no result. ``kind`` is the name of the error, ``hint`` says what to do next, and may be empty."""

    kind: Text
    message: Text
    hint: Text
    details: ErrorDetails


class Failed(Shape):
    """The command has no result: bad input, a failure of network or disk, or an interruption."""

    format: Format = FORMAT
    command: Text
    ok: Literal[False] = False
    exit: int
    error: Error


def answer(command: str, exit_code: int, result: object) -> str:
    """The document of a command with its result: one line, in ASCII. ``exit_code`` is that of the process."""
    shape: TypeAdapter[Any] = TypeAdapter(result_shape(command))
    filled = shape.validate_python(result, from_attributes=True)
    printed = shape.dump_python(filled, mode="json")
    document = Answered(command=command, ok=exit_code == 0, exit=exit_code, result=printed)
    return json.dumps(document.model_dump(mode="json"))


def failure(command: str, exit_code: int, *, kind: str, message: str, hint: str, facts: object) -> str:
    """The document of a command that failed, as one line. ``facts`` has the details as attributes, if any."""
    details = ErrorDetails() if facts is None else ErrorDetails.model_validate(facts)
    error = Error(kind=kind, message=message, hint=hint, details=details)
    document = Failed(command=command, exit=exit_code, error=error).model_dump(mode="json")
    document["error"]["details"] = details.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(document)


def result_shape(command: str) -> Any:
    """The declared shape of the result of a command, which is named as it is typed: ``manifest show``."""
    module = import_module(f"magnetar.render.json_shapes.commands.{command.split()[0]}")
    return module.RESULTS[command]
