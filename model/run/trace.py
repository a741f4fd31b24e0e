"""What is recorded while a model runs: the load of the experts, the residual stream, the routing of each token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import Routing
from magnetar.model.cluster.shares import Share
from magnetar.model.run.scoring import ExpertLoad

RESIDUAL_SAMPLES = 256
"""Numbers of the residual stream that a fingerprint keeps of each layer, evenly spaced over tokens and dimensions."""


class Trace:
    """An observer of a pass: the first window in detail, and the load of the experts in all windows.

    ``first`` is the number of tokens of the first window. The choice of experts is kept for its first ``tokens``.
    """

    def __init__(self, n_layers: int, first: int, tokens: int = 0) -> None:
        self.loads = [ExpertLoad() for _ in range(n_layers)]
        self.counts: list[list[int]] = []
        """For each layer, how many tokens of the first window each expert answered."""
        self.chosen: list[list[list[int]]] = []
        """For each layer and token, the experts that answered it, the heaviest first."""
        self.residual_rms: list[float] = []
        self.samples: list[list[float]] = []
        self._first, self._tokens = first, tokens

    def see_routing(self, layer: int, routing: Routing) -> None:
        """Count the answers of each expert, and keep the choice for the first tokens."""
        self.loads[layer](routing)
        picks = routing.chosen[: self._first].flatten()
        self.counts.append(picks.bincount(minlength=routing.logits.shape[-1]).tolist())
        self.chosen.append(routing.chosen[: self._tokens].tolist())

    def see_residual(self, layer: int, batches: Sequence[Tensor]) -> None:
        """Keep the root mean square of the first window, and some of its numbers."""
        del layer  # layers come in order
        numbers = batches[0].float().flatten()
        self.residual_rms.append(float(numbers.square().mean().sqrt()))
        places = torch.linspace(0, len(numbers) - 1, min(RESIDUAL_SAMPLES, len(numbers)), dtype=torch.float64).long()
        self.samples.append(numbers[places].tolist())

    def to_plain(self) -> list[Any]:
        """All that was seen, as a value that can go to another process."""
        loads = [load.counts for load in self.loads]
        return [loads, self.counts, self.chosen, self.residual_rms, self.samples]

    def merge(self, traces: Sequence[list[Any]], share: Share) -> None:
        """Add what the other processes saw in their layers. Where all run all layers, all saw the same."""
        for loads, *lists in () if share.shared_layers else traces[1:]:
            for load, counts in zip(self.loads, loads, strict=True):
                load.add(counts)
            for mine, theirs in zip((self.counts, self.chosen, self.residual_rms, self.samples), lists, strict=True):
                mine += theirs

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """For each layer each expert's share of the answers; empty for a dense model."""
        return tuple(load.shares for load in self.loads if load.shares)
