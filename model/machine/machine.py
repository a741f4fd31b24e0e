"""What a boot may use: memory, where it computes and in which numbers, and together with whom. No torch here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from magnetar.model.cluster.shares import ALONE, Crew
from magnetar.model.machine.free_memory import available_memory

if TYPE_CHECKING:
    from magnetar.model.machine.device import Arithmetic

NEXT_ONE = 1
"""To read ahead as little as can be: the next tensor, whatever its size."""

LARGEST_HELD = 2 << 30
"""Bytes of weights that are held in memory for a text to be written, where nobody says how much there is."""


@dataclass(frozen=True, slots=True)
class Machine:
    """``max_memory`` is in bytes, for each process; None takes what one matrix and the activations need.

    ``device`` is ``cpu`` or ``cuda``, ``dtype`` what is computed in: ``f32`` or ``bf16``. ``crew`` are the processes
    that boot the model together, each with some of its layers, or, ``by_experts``, with some experts of each layer.
    """

    max_memory: int | None = None
    device: str = "cpu"
    dtype: str = "f32"
    by_experts: bool = False
    crew: Crew = ALONE
    index: int = 0
    """Which of its machine's processes, and so of its GPUs, this one is."""

    @property
    def exact(self) -> bool:
        """Whether it rounds no more than float32 does."""
        return self.dtype == "f32"

    def arithmetic(self) -> "Arithmetic":
        """The same for torch. Raises ``UsageError`` for a device that is not here."""
        from magnetar.model.machine.device import choose_arithmetic

        return choose_arithmetic(self.device, self.dtype, self.index)

    @property
    def limit(self) -> int | None:
        """Bytes that may be taken: as many as was said, else as the machine has left; None where it does not say."""
        return available_memory() if self.max_memory is None else self.max_memory

    def say_limit(self) -> str:
        """The limit in words."""
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
        left = LARGEST_HELD if self.limit is None else max(0, self.limit - working)
        return left if self.max_memory is not None else min(left, LARGEST_HELD)


ALONE_ON_CPU = Machine()
