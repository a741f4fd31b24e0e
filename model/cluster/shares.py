"""Which part of a model each process runs, where several boot one model together. No torch here, no communication.

Either each process has some consecutive layers, and the activations go from one process to the next; or each has some
experts of every layer, and their answers are added up. Embedding and output belong to process 0.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables that ``torchrun`` sets for each process."""

LAYER = re.compile(r"layers\.(\d+)\.")
EXPERT = re.compile(r"\.experts\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a model that one process runs: ``layers``, and of each of them ``experts``.

    ``first`` says whether it also has the embedding and the output. With ``shared_layers`` all processes run all
    layers, each with its own experts; the other tensors of a layer are then read by all, and tested by process 0.
    """

    layers: range
    experts: range
    first: bool
    shared_layers: bool

    def reads(self, name: str) -> bool:
        """Whether the tensor with the publisher's name ``name`` is needed here."""
        layer, expert = LAYER.match(name), EXPERT.search(name)
        if layer is None:
            return self.first
        return int(layer[1]) in self.layers and (expert is None or int(expert[1]) in self.experts)

    def tests(self, name: str) -> bool:
        """Whether the content of a tensor is tested here. Each tensor is tested in one process."""
        return self.reads(name) and (self.first or not self.shared_layers or EXPERT.search(name) is not None)


def divide(architecture: Architecture, rank: int, size: int, *, by_experts: bool) -> Share:
    """The share of process ``rank`` of ``size``. Raises ``UsageError`` if there are more processes than parts."""
    layers, experts = range(architecture.n_layers), range(architecture.n_experts)
    divided, what = (experts, "experts") if by_experts else (layers, "layers")
    if size > len(divided):
        raise UsageError(f"{size} processes cannot share {len(divided)} {what}", hint="start fewer of them")
    mine = divided[len(divided) * rank // size : len(divided) * (rank + 1) // size]
    if by_experts:
        return Share(layers, mine, rank == 0, shared_layers=size > 1)
    return Share(mine, experts, rank == 0, shared_layers=False)


def is_one_of_many(environment: Mapping[str, str]) -> bool:
    """Whether ``torchrun``, or a program that sets the same variables, started this process as one of several."""
    return all(name in environment for name in TORCHRUN_VARIABLES) and environment["WORLD_SIZE"] != "1"


class ProcessGroup(Protocol):
    """The processes that boot one model, as one of them sees it. All must call the same methods in the same order.

    Where something cannot be sent or received, the methods raise the error that ended the other process, or
    ``RankLost``.
    """

    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        """A plain value of each process, for process 0; an empty list for the others."""
        ...

    def broadcast(self, value: Any) -> Any:
        """The plain value of process 0, for all."""
        ...

    def send(self, tensors: "Sequence[Tensor]", to: int, failure: str = "") -> None:
        """Send tensors to process ``to``, which receives as many of the same shapes; or ``failure`` in their place."""
        ...

    def receive(self, tensors: "Sequence[Tensor]", source: int) -> str:
        """Fill tensors with those that process ``source`` sends. Returns the failure that it sends in their place."""
        ...

    def all_reduce(self, tensor: "Tensor") -> None:
        """Replace a tensor by the sum of those of all processes."""
        ...

    def broadcast_tensor(self, tensor: "Tensor") -> None:
        """Replace a tensor by that of process 0."""
        ...


class SingleProcess:
    """A group of one process."""

    rank, size = 0, 1

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any) -> Any:
        return value

    def send(self, tensors: "Sequence[Tensor]", to: int, failure: str = "") -> None:
        raise AssertionError(f"there is no process {to}")

    def receive(self, tensors: "Sequence[Tensor]", source: int) -> str:
        raise AssertionError(f"there is no process {source}")

    def all_reduce(self, tensor: "Tensor") -> None:
        pass

    def broadcast_tensor(self, tensor: "Tensor") -> None:
        pass


SINGLE_PROCESS = SingleProcess()
