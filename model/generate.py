"""Writing on from a text, piece by piece, with the keys and values of the past kept."""

from collections.abc import Sequence

import torch

from magnetar.model.mixtral import KeyValues, Mixtral
from magnetar.model.tokenizer import END


def generate_greedily(model: Mixtral, prompt: Sequence[int], count: int) -> list[int]:
    """At most ``count`` further ids, each the likeliest next one; fewer where the model ends the text."""
    room = len(prompt) + count
    caches = [KeyValues(model.architecture, 1, room, torch.float32) for _ in model.layers]
    written: list[int] = []
    ids = list(prompt)
    with torch.inference_mode():
        while len(written) < count:
            position = len(prompt) + len(written) - len(ids)
            logits = model(torch.tensor([ids]), start=position, caches=caches)[0, -1]  # [V]
            ids = [int(logits.argmax())]
            if ids == [END]:
                break
            written += ids
    return written
