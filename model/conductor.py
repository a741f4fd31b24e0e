"""The same weights under other ways of choosing who answers, side by side. torch is imported only when it is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from magnetar.convert.source import open_source
from magnetar.convert.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.events import Emit, ignore
from magnetar.model.bundled import smoke_text
from magnetar.model.smoke import check_routing, require_torch
from magnetar.model.tokenizer import open_tokenizer
from magnetar.model.weights import PUBLISHED, stored_kind

COMPARED_ON = 4096
"""Tokens of the text: enough for two digits, and all strategies together take seconds on the bundled model."""


@dataclass(frozen=True, slots=True)
class RoutingScore:
    """How a model does under one strategy. ``bits_per_byte`` is None where its logits were not finite.

    ``expert_flops`` are those of the experts, as a multiple of what the trained routing takes; ``trained`` says
    whether this is how the configuration has it.
    """

    strategy: str
    bits_per_byte: float | None
    expert_flops: float
    tokens_per_second: float
    trained: bool


def compare_routings(
    path: Path, strategies: Sequence[str] = (), *, text: str | None = None, emit: Emit = ignore
) -> tuple[RoutingScore, ...]:
    """Score the checkpoint at ``path`` under each of ``strategies`` (all of them where none is given).

    Raises ``UsageError`` (no torch, an unknown strategy, an empty text), ``BootError`` (no tokenizer, a model without
    experts), and what ``open_source`` raises.
    """
    require_torch()
    from magnetar.model.examination import Task, choose_tokens, examine
    from magnetar.model.routing import SHOWN, Router, Strategy

    for name in strategies:
        check_routing(name)
    scores = []
    with open_source(path) as source:
        a = source.architecture
        if not a.n_experts:
            raise BootError(f"{path}: is a dense model, so there is nobody to choose from")
        tokenizer = open_tokenizer(source)
        ids = choose_tokens(tokenizer.encode(smoke_text().text if text is None else text), a)[:COMPARED_ON]
        if not ids:
            raise UsageError("the text to score is empty", hint="give a text of a few hundred words")
        weights, size = view_as(source, PUBLISHED), tokenizer.count_bytes(ids)
        for strategy in [Strategy(name) for name in strategies] or SHOWN:
            router = Router(strategy, a.n_experts, a.experts_per_token)
            found = examine(weights, a, stored_kind(source), Task(ids, strategy=strategy, decoded=1), emit=emit)
            score = None if found.bits is None else found.bits / size
            flops = router.asked / a.experts_per_token
            trained = strategy is Strategy.TRAINED or strategy.value == f"top{a.experts_per_token}"
            scores.append(RoutingScore(strategy.value, score, flops, len(ids) / found.seconds, trained))
    return tuple(scores)
