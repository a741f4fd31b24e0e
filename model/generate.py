"""Writing on from a text, piece by piece, with the keys and values of the past kept."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from magnetar.convert.architecture import Architecture
from magnetar.model.mixtral import KeyValues, Mixtral
from magnetar.model.tokenizer import END

LARGEST_HELD = 2 << 30
"""Bytes of float32 weights up to which a whole model is held in memory for a sample."""


def fits_in_memory(architecture: Architecture) -> bool:
    """Whether the whole model is small enough to be held for a sample."""
    return 4 * architecture.total_parameters <= LARGEST_HELD


def generate_greedily(model: Mixtral, prompt: Sequence[int], count: int) -> list[int]:
    """At most ``count`` further ids, each the likeliest next one; fewer where the model ends the text."""
    return list(generate_ids(model, prompt, count))


def generate_ids(
    model: Mixtral, prompt: Sequence[int], count: int, temperature: float = 0.0, seed: int = 0
) -> Iterator[int]:
    """At most ``count`` further ids, one by one: drawn at ``temperature``, or each the likeliest where that is 0."""
    like = model.output.weight
    caches = [KeyValues(model.architecture, 1, len(prompt) + count, like.dtype, like.device) for _ in model.layers]
    generator = torch.Generator().manual_seed(seed)
    ids, position = list(prompt), 0
    for _ in range(count):
        with torch.inference_mode():
            logits = model(torch.tensor([ids], device=like.device), start=position, caches=caches)[0, -1]  # [V]
            chosen = choose_next(logits.float().cpu(), temperature, generator)
        position += len(ids)
        if chosen == END:
            return
        yield chosen
        ids = [chosen]


def choose_next(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One id: the likeliest where ``temperature`` is 0, else drawn from the softmax of ``logits / temperature``."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
