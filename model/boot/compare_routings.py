"""Score the same weights under several routing strategies, side by side. torch is imported only when it is run."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from magnetar.convert.read.checkpoint_source import CheckpointSource, open_source
from magnetar.convert.transform.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.events import Emit, ignore
from magnetar.model.architecture.tokenizer import open_tokenizer
from magnetar.model.boot.boot_request import RoutingRequest, check_routing
from magnetar.model.bundled import smoke_text
from magnetar.model.machine.require_torch import require_torch
from magnetar.model.run.estimate_memory import choose_read_ahead, estimate_memory
from magnetar.model.run.weights import PUBLISHED, stored_kind

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import RunPlan

MAX_COMPARED_TOKENS = 4096
"""Tokens of the text: enough for two digits, and all strategies together take seconds on the bundled model."""


@dataclass(frozen=True, slots=True)
class RoutingScore:
    """How a model does under one strategy."""

    strategy: str
    bits_per_byte: float | None
    """The score; None where a logit was not finite."""
    expert_flops: float
    """The arithmetic of the experts, as a multiple of what the trained routing takes."""
    tokens_per_second: float
    trained: bool
    """Whether this is the strategy of the configuration."""


def compare_routings(request: RoutingRequest, emit: Emit = ignore) -> tuple[RoutingScore, ...]:
    """Score a checkpoint under each strategy of the request.

    Raises ``UsageError`` (no torch, no such device, an unknown strategy, an empty text), ``BootError`` (no tokenizer, a
    model without experts, too little memory), and what ``open_source`` raises.
    """
    require_torch()
    from magnetar.model.architecture.routing import SHOWN, Strategy

    for name in request.strategies:
        check_routing(name)
    with open_source(request.path) as source:
        if not source.architecture.n_experts:
            raise BootError(f"{request.path}: is a dense model, which has no experts to choose from")
        plan = _plan_run(source, request)
        chosen = [Strategy(name) for name in request.strategies] or SHOWN
        return tuple(_score(source, replace(plan, strategy=strategy), emit) for strategy in chosen)


def _plan_run(source: CheckpointSource, request: RoutingRequest) -> "RunPlan":
    """What is run under each strategy."""
    from magnetar.model.run.measure_run import RunPlan, choose_tokens

    machine, text = request.machine, smoke_text().text if request.text is None else request.text
    a, tokenizer, weights = source.architecture, open_tokenizer(source), view_as(source, PUBLISHED)
    ids = choose_tokens(tokenizer.encode(text), a)[:MAX_COMPARED_TOKENS]
    if not ids:
        raise UsageError("the text to score is empty", hint="give a text of a few hundred words")
    needed = estimate_memory(weights, a, len(ids), ahead=False)
    if not machine.admits(needed):
        message = f"running takes about {needed:,} bytes, and {machine.describe_limit()}"
        raise BootError(message, needed=needed, limit=machine.limit)
    ahead = choose_read_ahead(weights, a, len(ids), machine)
    return RunPlan(ids, tokenizer.count_bytes(ids), decoded=1, ahead=ahead, arithmetic=machine.arithmetic())


def _score(source: CheckpointSource, plan: "RunPlan", emit: Emit) -> RoutingScore:
    from magnetar.model.architecture.routing import Router, Strategy
    from magnetar.model.run.measure_run import measure_run

    a, strategy = source.architecture, plan.strategy
    run = measure_run(view_as(source, PUBLISHED), a, stored_kind(source), plan, emit=emit)
    flops = Router(strategy, a.n_experts, a.experts_per_token).asked / a.experts_per_token
    trained = strategy is Strategy.TRAINED or strategy.value == f"top{a.experts_per_token}"
    return RoutingScore(strategy.value, run.bits_per_byte, flops, run.tokens_per_second, trained)
