"""From a checkpoint at rest to modules with weights: as much of the model as is asked for, and no more.

Modules are built on the meta device, so that nothing is allocated twice, and the weights are assigned strictly.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from magnetar.convert.architecture import Architecture
from magnetar.convert.view import View
from magnetar.errors import BootError
from magnetar.model.mixtral import Block, Mixtral

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What weights may be stored in, by safetensors' names. All of it is computed in float32."""

Module = TypeVar("Module", bound=nn.Module)


def check_weights(view: View, architecture: Architecture) -> None:
    """Hold names, shapes and dtypes against the model. Raises ``BootError`` naming the tensor that does not fit."""
    with torch.device("meta"):
        wanted = Mixtral(architecture).state_dict()
    if missing := wanted.keys() - view.specs.keys():
        raise BootError(f"{min(missing)}: this tensor is missing, and {len(missing) - 1} more")
    if extra := view.specs.keys() - wanted.keys():
        raise BootError(f"{min(extra)}: the model has no such tensor, nor {len(extra) - 1} more")
    for name, weight in wanted.items():
        spec = view.specs[name]
        if spec.shape != tuple(weight.shape):
            raise BootError(f"{name}: has shape {list(spec.shape)}, not {list(weight.shape)}")
        if spec.dtype not in DTYPES:
            raise BootError(
                f"{name}: is stored as {spec.dtype}, and only {', '.join(DTYPES)} can be run",
                hint="boot the checkpoint that it was quantised from",
            )


def load_model(view: View, architecture: Architecture) -> Mixtral:
    """The whole model, in float32."""
    with torch.device("meta"):
        model = Mixtral(architecture)
    return fill(model, view, "")


def load_block(view: View, architecture: Architecture, layer: int) -> Block:
    """One layer, in float32."""
    with torch.device("meta"):
        block = Block(architecture)
    return fill(block, view, f"layers.{layer}.")


def fill(module: Module, view: View, prefix: str) -> Module:
    """Give ``module`` the weights whose names begin with ``prefix``, for inference."""
    weights = {name: read_tensor(view, prefix + name) for name in module.state_dict()}
    module.load_state_dict(weights, strict=True, assign=True)
    return module.requires_grad_(False).eval()


def read_tensor(view: View, name: str) -> Tensor:
    """One tensor in float32. Raises ``CheckpointError`` or ``DiskError`` if its bytes cannot be had."""
    spec = view.specs[name]
    return torch.frombuffer(view.read(name), dtype=DTYPES[spec.dtype]).view(spec.shape).float()
