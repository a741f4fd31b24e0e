"""Generate tokens one by one, with the keys and values of the tokens before them in a cache."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import KeyValues, Mixtral, Routing
from magnetar.model.architecture.tokenizer import END
from magnetar.model.cluster.shares import SINGLE_PROCESS, ProcessGroup
from magnetar.model.run.streamed_model import Caches, StreamedModel

Predict = Callable[[list[int]], Tensor | None]
"""Takes the ids that come next, and returns the logits [V] of the id after them.

In a group of processes, those that do not have the output return None.
"""


def predict_loaded(model: Mixtral, room: int) -> Predict:
    """Predict with a model that is wholly in memory, for at most ``room`` positions."""
    like = model.output.weight
    caches = [KeyValues(model.architecture, 1, room, like.dtype, like.device) for _ in model.layers]
    length = 0

    def predict(ids: list[int]) -> Tensor:
        nonlocal length
        logits: Tensor = model(torch.tensor([ids], device=like.device), start=length, caches=caches)[0, -1]
        length += len(ids)
        return logits.float().cpu()

    return predict


def predict_streamed(model: StreamedModel, caches: Caches) -> Predict:
    """Predict with a model whose tensors are taken as they are needed, or with this process's share of one."""

    def predict(ids: list[int]) -> Tensor | None:
        state = model.run(model.embed([], torch.tensor([ids])), IGNORE, caches=caches)
        return next(model.logits([state.decoded[:, -1:]]))[0, -1] if model.share.first else None

    return predict


def generate_greedily(model: Mixtral, prompt: Sequence[int], count: int) -> list[int]:
    """At most ``count`` further ids, each the likeliest next one; fewer where the model ends the text."""
    return list(generate_ids(predict_loaded(model, len(prompt) + count), prompt, count))


def generate_ids(
    predict: Predict,
    prompt: Sequence[int],
    count: int,
    temperature: float = 0.0,
    seed: int = 0,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[int]:
    """At most ``count`` further ids, one by one: drawn at ``temperature``, or each the likeliest where that is 0.

    Fewer where the model ends the text. All processes of a group get the same ids.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            logits = predict(ids)
            chosen = group.broadcast(None if logits is None else choose_next(logits, temperature, generator))
        if chosen == END:
            return
        yield chosen
        ids = [chosen]


def choose_next(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One id: the likeliest where ``temperature`` is 0, else drawn from the softmax of ``logits / temperature``."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


class IgnoringObserver:
    """An observer that records nothing."""

    def see_routing(self, layer: int, routing: Routing) -> None:
        pass

    def see_residual(self, layer: int, batches: Sequence[Tensor]) -> None:
        pass


IGNORE = IgnoringObserver()
