"""Routing strategies: ways to choose experts from the router's logits, the trained one among them.

A mixture of experts is trained with one of these (Mixtral with ``top2``). Running the same weights with the others
shows what the router has learned, and what more experts for each token would cost and bring.
"""

from enum import StrEnum

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import Routing


class Strategy(StrEnum):
    """Which experts answer a token, and how their answers are weighed."""

    TRAINED = "trained"
    """As many as the configuration says."""
    TOP1 = "top1"
    TOP2 = "top2"
    TOP3 = "top3"
    ALL_WEIGHED = "all-weighed"
    """All experts answer, each weighed by the softmax over all."""
    ALL_THEN_CHOOSE = "all-then-choose"
    """All experts answer. Those with the longest answers count, as many as trained, weighed by the router."""
    RANDOM = "random"
    """As many experts as trained, drawn at random, and weighed alike."""
    NOT_RENORMALISED = "not-renormalised"
    """As many as trained, each weighed by the softmax over all, so that their weights do not sum to one."""
    SOFTMAX_TWICE = "softmax-twice"
    """As many as trained, weighed by the softmax of what the softmax over all gives."""


MISTAKEN = (Strategy.NOT_RENORMALISED, Strategy.SOFTMAX_TWICE)
"""Strategies that runtimes use by mistake, and that other families are trained with."""

SHOWN = tuple(strategy for strategy in Strategy if strategy not in (Strategy.TRAINED, *MISTAKEN))
TOP = {Strategy.TOP1: 1, Strategy.TOP2: 2, Strategy.TOP3: 3}


class Router:
    """One strategy for a model with ``n_experts`` experts, trained to ask ``per_token`` of them."""

    def __init__(self, strategy: Strategy, n_experts: int, per_token: int, seed: int = 0) -> None:
        self.strategy, self.n_experts = strategy, n_experts
        self.wanted = min(TOP.get(strategy, per_token), n_experts)
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def chooses_late(self) -> bool:
        """Whether all experts answer before it is decided which of the answers count."""
        return self.strategy is Strategy.ALL_THEN_CHOOSE

    @property
    def asked(self) -> int:
        """How many experts run for each token."""
        return self.n_experts if self.strategy in (Strategy.ALL_WEIGHED, Strategy.ALL_THEN_CHOOSE) else self.wanted

    def route(self, logits: Tensor) -> Routing:
        """Choose experts for tokens from the router's ``logits`` [N, E], float32."""
        if self.asked > self.wanted:
            best, chosen = logits.sort(descending=True)
        elif self.strategy is Strategy.RANDOM:
            chosen = torch.rand(logits.shape, generator=self._generator).topk(self.wanted).indices.to(logits.device)
            best = logits.new_zeros(chosen.shape)
        else:
            best, chosen = logits.topk(self.wanted)
        if self.strategy in MISTAKEN:
            shares = logits.softmax(-1).gather(1, chosen)
            return Routing(logits, chosen, shares.softmax(-1) if self.strategy is Strategy.SOFTMAX_TWICE else shares)
        return Routing(logits, chosen, best.softmax(-1))

    def choose_loudest(self, routing: Routing, answers: Tensor) -> Tensor:
        """The weights [N, E] for ``answers`` [N, E, D], in the order of ``routing.chosen``; 0 but for the longest."""
        loudest = answers.norm(dim=-1).topk(self.wanted).indices
        logits = routing.logits.gather(1, routing.chosen)
        kept = torch.full_like(logits, -torch.inf).scatter(1, loudest, logits.gather(1, loudest))
        return kept.softmax(-1)
