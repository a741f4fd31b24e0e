"""Commands that may run as one of several processes of ``torchrun``: the first shows the result, all exit alike."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from magnetar.cli.options.display import DisplayFlags, finish, open_screen
from magnetar.errors import ExitCode, MagnetarError, UsageError
from magnetar.events import ignore
from magnetar.model.cluster.shares import is_one_of_many
from magnetar.model.machine.machine import Machine

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.model.cluster.torchrun import TorchrunGroup

Work = Callable[[Machine, "Emit"], Any]
Draw = Callable[[Any], Any]


def refuse_several_processes(what: str) -> None:
    """Raises ``UsageError`` in a process that is one of several."""
    if is_one_of_many(os.environ):
        raise UsageError(f"{what} is for one process alone", hint="leave torchrun out")


def finish_together(command: str, display: DisplayFlags, machine: Machine, work: Work, draw: Draw) -> NoReturn:
    """Do the work, alone or with the other processes; the first of them shows the result, and all exit with its code.

    ``work`` gets ``machine`` with the processes that take part.
    """
    if not is_one_of_many(os.environ):
        finish(command, display, partial(work, machine), draw)
    from magnetar.model.cluster.torchrun import join_group
    from magnetar.model.machine.require_torch import require_torch

    require_torch()
    with join_group(machine.device) as group:
        machine = replace(machine, group=group)
        if group.rank:
            code = _follow(group, partial(work, machine))
        else:
            code = open_screen(command, display).run(partial(_lead, group, partial(work, machine)), draw)
            group.dismiss(code)
    raise typer.Exit(code)


def _lead(group: "TorchrunGroup", work: "Callable[[Emit], Any]", emit: "Emit") -> Any:
    """The work of the first process. It tells the others of a failure before the failure is shown."""
    try:
        return work(emit)
    except BaseException as error:
        group.fail(error)
        raise


def _follow(group: "TorchrunGroup", work: "Callable[[Emit], Any]") -> ExitCode:
    """The work of any other process. It shows nothing, and waits for the first to say how all exit."""
    from magnetar.render.screen import Terminated

    try:
        work(ignore)
    except MagnetarError as error:
        group.fail(error)
    except KeyboardInterrupt as error:
        group.fail(error)
        return ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED
    return group.await_dismissal()
