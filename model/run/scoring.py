"""Cut a text into windows, count what its tokens cost in bits, and count the answers of each expert."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from magnetar.model.architecture.mixtral import Routing
from magnetar.model.architecture.tokenizer import BEGIN


def cut_windows(ids: Sequence[int], length: int, at_once: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets [B, T], with B at most ``at_once``, T at most ``length``.

    Every id is a target once. Each window opens with ``<s>``; nothing of the window before is in its context.
    """
    whole = len(ids) // length * length
    windows = list(torch.split(torch.tensor(ids[:whole]).view(-1, length), at_once)) if whole else []
    if whole < len(ids):
        windows.append(torch.tensor(ids[whole:])[None])
    for targets in windows:
        yield torch.cat([torch.full((len(targets), 1), BEGIN), targets[:, :-1]], dim=1), targets


def count_bits(logits: Tensor, targets: Tensor) -> float:
    """The bits that ``targets`` [B, T] cost under ``logits`` [B, T, V]; not finite where a logit is not."""
    nats = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
    return float(nats) / math.log(2)


class ExpertLoad:
    """Counts how many answers each expert of one layer gave. An object of it can be passed as ``watch``."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        """The answers of each expert; empty where there was no router."""

    def __call__(self, routing: Routing) -> None:
        """Count one choice of the router."""
        self.add(routing.chosen.flatten().bincount(minlength=routing.logits.shape[-1]).tolist())

    def add(self, counts: Sequence[int]) -> None:
        """Add the answers that were counted elsewhere; none for a dense layer."""
        if counts:
            self.counts = [one + other for one, other in zip(self.counts or [0] * len(counts), counts, strict=True)]

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the answers that each expert gave; they sum to 1. Empty where there was no router."""
        total = sum(self.counts)
        return tuple(count / total for count in self.counts) if total else ()
