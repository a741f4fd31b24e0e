"""Options that say what a boot may use of the machine."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from magnetar.cli.options.amounts import parse_amount
from magnetar.cli.options.groups import option
from magnetar.model.cluster.shares import is_one_of_many
from magnetar.model.machine.machine import Machine

machine_option = partial(option, rich_help_panel="What the boot may use")


@dataclass(frozen=True)
class MachineFlags:
    """What a boot may use."""

    max_memory: Annotated[
        int | None,
        machine_option(
            "--max-memory",
            parser=parse_amount,
            metavar="SIZE",
            help="Use at most this many bytes of memory in each process, like 4G. By default, all that is free.",
        ),
    ] = None
    device: Annotated[
        Literal["cpu", "cuda"], machine_option("--device", help="Compute on the processor, or on a GPU.")
    ] = "cpu"
    dtype: Annotated[
        Literal["f32", "bf16"], machine_option("--dtype", help="Compute in numbers of 32 or of 16 bits.")
    ] = "f32"
    expert_parallel: Annotated[
        bool,
        machine_option(
            "--expert-parallel",
            help="Under torchrun, give each process some experts of every layer. By default, some of the layers.",
        ),
    ] = False

    def machine(self) -> Machine:
        """The machine as the model takes it."""
        index = int(os.environ.get("LOCAL_RANK", "0")) if is_one_of_many(os.environ) else 0
        return Machine(self.max_memory, self.device, self.dtype, self.expert_parallel, index=index)
