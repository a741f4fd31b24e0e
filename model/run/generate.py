"""Writing on from a text, piece by piece, with the keys and values of the past kept."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import KeyValues, Mixtral, Routing
from magnetar.model.architecture.tokenizer import END
from magnetar.model.cluster.shares import ALONE, Crew
from magnetar.model.run.streamed_model import Past, StreamedModel

Follow = Callable[[list[int]], Tensor | None]
"""Takes the ids that come next, and gives the logits [V] of the one after them; None where another process has them."""


def follow_loaded(model: Mixtral, room: int) -> Follow:
    """By a model that is held whole, for at most ``room`` positions."""
    like = model.output.weight
    caches = [KeyValues(model.architecture, 1, room, like.dtype, like.device) for _ in model.layers]
    length = 0

    def follow(ids: list[int]) -> Tensor:
        nonlocal length
        logits: Tensor = model(torch.tensor([ids], device=like.device), start=length, caches=caches)[0, -1]
        length += len(ids)
        return logits.float().cpu()

    return follow


def follow_streamed(model: StreamedModel, past: Past) -> Follow:
    """By a model whose tensors are taken when they are needed, or by this process's share of one."""

    def follow(ids: list[int]) -> Tensor | None:
        state = model.run(model.embed([], torch.tensor([ids])), UNSEEN, past=past)
        return next(model.logits([state.decoded[:, -1:]]))[0, -1] if model.share.first else None

    return follow


def generate_greedily(model: Mixtral, prompt: Sequence[int], count: int) -> list[int]:
    """At most ``count`` further ids, each the likeliest next one; fewer where the model ends the text."""
    return list(generate_ids(follow_loaded(model, len(prompt) + count), prompt, count))


def generate_ids(
    follow: Follow, prompt: Sequence[int], count: int, temperature: float = 0.0, seed: int = 0, crew: Crew = ALONE
) -> Iterator[int]:
    """At most ``count`` further ids, one by one: drawn at ``temperature``, or each the likeliest where that is 0.

    Fewer where the model ends the text. All processes of a crew get the same.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            logits = follow(ids)
            chosen = crew.tell(None if logits is None else choose_next(logits, temperature, generator))
        if chosen == END:
            return
        yield chosen
        ids = [chosen]


def choose_next(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One id: the likeliest where ``temperature`` is 0, else drawn from the softmax of ``logits / temperature``."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


class Unseen:
    """Sees nothing."""

    def see_routing(self, layer: int, routing: Routing) -> None:
        pass

    def see_residual(self, layer: int, batches: Sequence[Tensor]) -> None:
        pass


UNSEEN = Unseen()
