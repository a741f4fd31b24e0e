"""From a checkpoint at rest to modules with weights: as much of the model as is asked for, and no more.

Modules are built on the meta device, so that nothing is allocated twice, and the weights are assigned strictly.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from magnetar.convert.architecture import Architecture
from magnetar.model.mixtral import Mixtral
from magnetar.model.weights import Weights

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What weights may be stored in, by safetensors' names. All of it is computed in float32."""

Module = TypeVar("Module", bound=nn.Module)


def load_model(weights: Weights, architecture: Architecture) -> Mixtral:
    """The whole model, in float32."""
    with torch.device("meta"):
        model = Mixtral(architecture)
    return fill(model, weights, "")


def fill(module: Module, weights: Weights, prefix: str) -> Module:
    """Give ``module`` the weights whose names begin with ``prefix``, for inference."""
    state = {name: read_tensor(weights, prefix + name) for name in module.state_dict()}
    module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_(False).eval()


def read_tensor(weights: Weights, name: str) -> Tensor:
    """One tensor in float32. Raises ``CheckpointError`` or ``DiskError`` if its bytes cannot be had."""
    spec = weights.specs[name]
    return torch.frombuffer(weights.read(name), dtype=DTYPES[spec.dtype]).view(spec.shape).float()
