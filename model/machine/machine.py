"""What a boot may use: memory, a device, a dtype to compute in, and other processes. No torch here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from magnetar.model.cluster.shares import SINGLE_PROCESS, ProcessGroup
from magnetar.model.machine.memory import available_memory

if TYPE_CHECKING:
    from magnetar.model.machine.device import Arithmetic

NEXT_ONE = 1
"""Read ahead as little as possible: one tensor, the next, whatever its size."""

MAX_HELD_BYTES = 2 << 30
"""The most bytes of weights that are held in memory, unless ``max_memory`` allows more."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one process of a boot may use."""

    max_memory: int | None = None
    """Bytes that the process may take. Default (None): what one matrix and the activations need."""
    device: str = "cpu"
    """Where it computes: ``cpu`` or ``cuda``."""
    dtype: str = "f32"
    """What it computes in: ``f32`` or ``bf16``. Weights stay as they are stored."""
    by_experts: bool = False
    """Whether the processes of ``group`` share the experts of every layer, and not the layers."""
    group: ProcessGroup = SINGLE_PROCESS
    """The processes that boot the model together."""
    index: int = 0
    """Which of its computer's processes, and so of its GPUs, this one is."""

    @property
    def exact(self) -> bool:
        """Whether it rounds no more than float32 does."""
        return self.dtype == "f32"

    def arithmetic(self) -> "Arithmetic":
        """Device and dtype for torch. Raises ``UsageError`` for a device that is not here."""
        from magnetar.model.machine.device import choose_arithmetic

        return choose_arithmetic(self.device, self.dtype, self.index)

    @property
    def limit(self) -> int | None:
        """Bytes that may be taken: ``max_memory``, else what the computer has left; None if it does not say."""
        return available_memory() if self.max_memory is None else self.max_memory

    def describe_limit(self) -> str:
        """The limit in words, to stand after a number of bytes."""
        return f"{self.limit or 0:,} are {'left' if self.max_memory is None else 'allowed'}"

    def admits(self, nbytes: int) -> bool:
        """Whether so much memory may be taken."""
        limit = self.limit
        return limit is None or nbytes <= limit

    def room_for_weights(self, working: int) -> int:
        """Bytes of weights that may stay in memory beside ``working`` bytes: on a GPU as much as fits there."""
        free = self.arithmetic().free_memory()
        if free is not None:
            return free
        left = MAX_HELD_BYTES if self.limit is None else max(0, self.limit - working)
        return left if self.max_memory is not None else min(left, MAX_HELD_BYTES)


ONE_CPU_PROCESS = Machine()
"""One process on the CPU, in float32."""
