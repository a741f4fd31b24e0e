"""Muon for the matrices of the hidden layers, and its orthogonalisation (Keller Jordan, "Muon", 2024)."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""A quintic whose five-fold iteration sends every singular value in (0.001, 1] to about 1."""


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. All matrices of one shape, such as those of all experts, are one batch."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.05
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        """One step. A matrix without a gradient, such as an expert that no token chose, only keeps its momentum."""
        for group in self.param_groups:
            for matrices in _group_by_shape(group["params"]):
                self._step_batch(matrices, group)

    def _step_batch(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        updates = []
        for matrix in matrices:
            gradient = torch.zeros_like(matrix) if matrix.grad is None else matrix.grad
            momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            momentum.lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(momentum, group["momentum"]))  # Nesterov
        rows, columns = matrices[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for matrix, update in zip(matrices, orthogonalise(torch.stack(updates)), strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonalise(batch: Tensor, steps: int = 5) -> Tensor:
    """The nearest orthogonal matrix, about, to each of ``batch`` [n, rows, columns]; in bfloat16, which suffices."""
    a, b, c = NEWTON_SCHULZ
    tall = batch.shape[1] > batch.shape[2]
    x = (batch.mT if tall else batch).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def _group_by_shape(matrices: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    batches = defaultdict(list)
    for matrix in matrices:
        batches[matrix.shape].append(matrix)
    return batches.values()
