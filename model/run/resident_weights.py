"""The tensors of a model for many passes: as many as fit stay on the device, the others are read each time."""

import torch
from torch import Tensor

from magnetar.model.run.load import read_tensor
from magnetar.model.run.weights import Weights


class ResidentWeights:
    """Tensors by name, as they are stored, on a device. Each is read when it is first asked for.

    What fits into ``room`` bytes together stays; the tensors that come first are kept. Keeping those that were used
    last would be wrong: a pass takes the layers in the same order each time, so these are needed again the latest.
    """

    sequential = False

    def __init__(self, weights: Weights, room: int, device: torch.device | None = None) -> None:
        self._weights, self.room, self._device = weights, room, device
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str) -> Tensor:
        """A tensor. Raises ``CheckpointError`` or ``DiskError`` if its bytes cannot be read."""
        if name in self._kept:
            return self._kept[name]
        tensor = read_tensor(self._weights, name).to(self._device)
        if tensor.nbytes <= self.room:
            self.room -= tensor.nbytes
            self._kept[name] = tensor
        return tensor
