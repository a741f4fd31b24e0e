"""Options in groups: a dataclass whose fields are options becomes one parameter of a command."""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from typing import Any

import typer

option = partial(typer.Option, show_envvar=False)
"""Every option can come from the environment, as MAGNETAR_COMMAND_OPTION; saying so at each would drown the help."""

Command = Callable[..., None]


def flag_groups(function: Command) -> Command:
    """Give a command the fields of its groups as options of its own.

    A group is a parameter whose annotation is a dataclass. Typer sees the fields in the place of the parameter: they
    come after all other options, in the order of the groups. The command gets the dataclass with the values.
    """
    parameters = inspect.signature(function).parameters
    annotations: dict[str, Any] = {name: parameter.annotation for name, parameter in parameters.items()}
    groups = {name: group for name, group in annotations.items() if inspect.isclass(group) and is_dataclass(group)}
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}

    @wraps(function)
    def command(**values: Any) -> None:
        filled = {name: group(**{field: values.pop(field) for field in fields[name]}) for name, group in groups.items()}
        function(**values, **filled)

    shown = [parameter for name, parameter in parameters.items() if name not in groups]
    shown += [field for group in fields.values() for field in group.values()]
    shown = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shown]
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # Typer reads it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return command
