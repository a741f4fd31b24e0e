"""Load a checkpoint, or a part of it, into modules.

Modules are built on the meta device, so that nothing is allocated twice, and the weights are assigned strictly.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.run.weights import Weights

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes that weights may be stored in, by safetensors' names."""

Module = TypeVar("Module", bound=nn.Module)


def load_model(
    weights: Weights,
    architecture: Architecture,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Mixtral:
    """The whole model in ``dtype`` on ``device``, which it then computes in, and on."""
    with torch.device("meta"):
        model = Mixtral(architecture)
    return fill(model, weights, "", dtype, device)


def fill(
    module: Module,
    weights: Weights,
    prefix: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Module:
    """Give ``module`` the weights whose names begin with ``prefix``, for inference."""
    state = {name: read_tensor(weights, prefix + name).to(device, dtype) for name in module.state_dict()}
    module.load_state_dict(state, strict=True, assign=True)
    return module.requires_grad_(False).eval()


def read_tensor(weights: Weights, name: str) -> Tensor:
    """One tensor as it is stored. Raises ``CheckpointError`` or ``DiskError`` if its bytes cannot be read."""
    spec = weights.specs[name]
    return torch.frombuffer(weights.read(name), dtype=DTYPES[spec.dtype]).view(spec.shape)
