"""Options that say what a boot may use, and the ways to end it: alone, or with the other processes of ``torchrun``."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from magnetar.cli.options.shared import Showing, finish, open_screen, option, parse_amount
from magnetar.errors import ExitCode, MagnetarError, UsageError
from magnetar.events import ignore
from magnetar.model.cluster.shares import is_one_of_many
from magnetar.model.machine.machine import Machine

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.model.cluster.torchrun import TorchrunGroup

machinery = partial(option, rich_help_panel="What it may use")

Work = Callable[[Machine, "Emit"], Any]
Draw = Callable[[Any], Any]


@dataclass(frozen=True)
class Computing:
    """What a boot may use."""

    max_memory: Annotated[
        int | None,
        machinery("--max-memory", parser=parse_amount, metavar="SIZE", help="Each process takes no more, like 4G."),
    ] = None
    device: Annotated[Literal["cpu", "cuda"], machinery("--device", help="Where it computes.")] = "cpu"
    dtype: Annotated[Literal["f32", "bf16"], machinery("--dtype", help="What it computes in.")] = "f32"
    expert_parallel: Annotated[
        bool, machinery("--expert-parallel", help="Processes of torchrun share the experts, not the layers.")
    ] = False

    def machine(self) -> Machine:
        """The same as the model takes it."""
        index = int(os.environ.get("LOCAL_RANK", "0")) if is_one_of_many(os.environ) else 0
        return Machine(self.max_memory, self.device, self.dtype, self.expert_parallel, index=index)


def refuse_many(what: str) -> None:
    """Raises ``UsageError`` in a process that is one of several."""
    if is_one_of_many(os.environ):
        raise UsageError(f"{what} is for one process alone", hint="leave torchrun out")


def finish_together(command: str, showing: Showing, computing: Computing, work: Work, draw: Draw) -> NoReturn:
    """Do the work, alone or as one of several processes: the first shows what came of it, and all end with its code."""
    machine = computing.machine()
    if not is_one_of_many(os.environ):
        finish(command, showing, partial(work, machine), draw)
    from magnetar.model.cluster.torchrun import join_group
    from magnetar.model.machine.require_torch import require_torch

    require_torch()
    with join_group(machine.device) as group:
        machine = replace(machine, group=group)
        if group.rank:
            code = _take_part(group, partial(work, machine))
        else:
            code = open_screen(command, showing).run(partial(_lead, group, partial(work, machine)), draw)
            group.dismiss(code)
    raise typer.Exit(code)


def _lead(group: "TorchrunGroup", work: "Callable[[Emit], Any]", emit: "Emit") -> Any:
    """The work of the first process, whose failure the others should know of before it is shown."""
    try:
        return work(emit)
    except BaseException as error:
        group.fail(error)
        raise


def _take_part(group: "TorchrunGroup", work: "Callable[[Emit], Any]") -> ExitCode:
    """The work of another process: it shows nothing."""
    from magnetar.render.screen import Terminated

    try:
        work(ignore)
    except MagnetarError as error:
        group.fail(error)
    except KeyboardInterrupt as error:
        group.fail(error)
        return ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode.INTERRUPTED
    return group.await_dismissal()
