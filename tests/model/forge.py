"""Small models of the family, with random weights, and the way back from a release to a model."""

from dataclasses import replace
from pathlib import Path

import torch

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.run.load import load_model

TINY = Architecture(
    dim=32,
    n_layers=3,
    head_dim=8,
    hidden_dim=48,
    n_heads=6,
    n_kv_heads=2,
    norm_eps=1e-5,
    vocab_size=64,
    rope_theta=1e6,
    n_experts=5,
    experts_per_token=2,
)
DENSE = replace(TINY, n_experts=0, experts_per_token=0, rope_theta=1e4)
SLIDING = replace(DENSE, sliding_window=6)
FAMILY = {"mixture": TINY, "dense": DENSE, "dense with a sliding window": SLIDING}


def make_model(architecture: Architecture, seed: int = 0) -> Mixtral:
    """A model with random weights, large enough that every part of it matters to the logits."""
    torch.manual_seed(seed)
    model = Mixtral(architecture).requires_grad_(False)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.uniform_(weight, 0.5, 1.5)
        else:
            torch.nn.init.normal_(weight, std=1.5 / weight.shape[-1] ** 0.5)
    return model.eval()


def load_release(folder: Path) -> Mixtral:
    with open_source(folder) as source:
        return load_model(view_as(source, "mistral"), source.architecture)
