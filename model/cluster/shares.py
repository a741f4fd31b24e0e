"""Who runs what, where several processes boot one model together. No torch here, and nothing that talks.

Either each process has layers that follow on each other, and what flows through the model goes from one to the next;
or each has some experts of every layer, and their answers are added up. Embedding and output are the first one's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What ``torchrun`` tells each process in its environment."""

LAYER = re.compile(r"layers\.(\d+)\.")
EXPERT = re.compile(r"\.experts\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Share:
    """What of a model is one process's: ``layers`` run there, and of each of them ``experts``.

    ``first`` has the embedding and the output. With ``shared_layers`` all processes run all layers, each with its own
    experts; what is no expert's is then read by all, and tested by the first.
    """

    layers: range
    experts: range
    first: bool
    shared_layers: bool

    def reads(self, name: str) -> bool:
        """Whether a tensor is needed here, by the publisher's name."""
        layer, expert = LAYER.match(name), EXPERT.search(name)
        if layer is None:
            return self.first
        return int(layer[1]) in self.layers and (expert is None or int(expert[1]) in self.experts)

    def tests(self, name: str) -> bool:
        """Whether a tensor's content is judged here; so of each in one process alone."""
        return self.reads(name) and (self.first or not self.shared_layers or EXPERT.search(name) is not None)


def divide(architecture: Architecture, rank: int, size: int, *, by_experts: bool) -> Share:
    """The share of process ``rank`` of ``size``. Raises ``UsageError`` if there is not enough to go round."""
    layers, experts = range(architecture.n_layers), range(architecture.n_experts)
    parted, what = (experts, "experts") if by_experts else (layers, "layers")
    if size > len(parted):
        raise UsageError(f"{size} processes cannot share {len(parted)} {what}", hint="start fewer of them")
    mine = parted[len(parted) * rank // size : len(parted) * (rank + 1) // size]
    if by_experts:
        return Share(layers, mine, rank == 0, shared_layers=size > 1)
    return Share(mine, experts, rank == 0, shared_layers=False)


def is_one_of_many(environment: Mapping[str, str]) -> bool:
    """Whether ``torchrun``, or what does as it does, started this process as one of several."""
    return all(name in environment for name in NAMES) and environment["WORLD_SIZE"] != "1"


class Crew(Protocol):
    """The processes that boot one model, as one of them sees it. All must call the same methods in the same order.

    Whatever cannot be sent or received raises the error that ended the other process, or ``RankLost``.
    """

    rank: int
    size: int

    def gather(self, value: Any) -> list[Any]:
        """A plain value of each process, for the first; an empty list for the others."""
        ...

    def tell(self, value: Any) -> Any:
        """The first process's plain value, for all."""
        ...

    def send(self, tensors: "Sequence[Tensor]", to: int, trouble: str = "") -> None:
        """Hand tensors to process ``to``, which receives as many of the same shapes; or ``trouble`` in their place."""
        ...

    def receive(self, tensors: "Sequence[Tensor]", source: int) -> str:
        """Fill tensors with what process ``source`` sends, or say what it says in their place."""
        ...

    def add_up(self, tensor: "Tensor") -> None:
        """Make it the sum of what all processes have."""
        ...

    def level(self, tensor: "Tensor") -> None:
        """Make it what the first process has."""
        ...


class Alone:
    """One process, which has everything and nobody to talk to."""

    rank, size = 0, 1

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def tell(self, value: Any) -> Any:
        return value

    def send(self, tensors: "Sequence[Tensor]", to: int, trouble: str = "") -> None:
        raise AssertionError(f"there is no process {to}")

    def receive(self, tensors: "Sequence[Tensor]", source: int) -> str:
        raise AssertionError(f"there is no process {source}")

    def add_up(self, tensor: "Tensor") -> None:
        pass

    def level(self, tensor: "Tensor") -> None:
        pass


ALONE = Alone()
