"""The same weights under other ways of choosing who answers, side by side. torch is imported only when it is run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.read.checkpoint_source import CheckpointSource, open_source
from magnetar.convert.transform.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.events import Emit, ignore
from magnetar.model.architecture.tokenizer import open_tokenizer
from magnetar.model.boot.boot import check_routing, require_torch
from magnetar.model.bundled import smoke_text
from magnetar.model.checks.forward import estimate_memory, room_ahead
from magnetar.model.machine.machine import ALONE_ON_CPU, Machine
from magnetar.model.run.weights import PUBLISHED, stored_kind

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import Task

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
    path: Path,
    strategies: Sequence[str] = (),
    *,
    text: str | None = None,
    machine: Machine = ALONE_ON_CPU,
    emit: Emit = ignore,
) -> tuple[RoutingScore, ...]:
    """Score the checkpoint at ``path`` under each of ``strategies`` (all of them where none is given) on ``machine``.

    Raises ``UsageError`` (no torch, no such device, an unknown strategy, an empty text), ``BootError`` (no tokenizer, a
    model without experts, too little memory), and what ``open_source`` raises.
    """
    require_torch()
    from magnetar.model.architecture.routing import SHOWN, Strategy

    for name in strategies:
        check_routing(name)
    with open_source(path) as source:
        if not source.architecture.n_experts:
            raise BootError(f"{path}: is a dense model, so there is nobody to choose from")
        task, size = _choose_task(source, smoke_text().text if text is None else text, machine)
        chosen = [Strategy(name) for name in strategies] or SHOWN
        return tuple(_score(source, replace(task, strategy=strategy), size, emit) for strategy in chosen)


def _choose_task(source: CheckpointSource, text: str, machine: Machine) -> "tuple[Task, int]":
    """What is run under each strategy, and how many bytes of the text that is."""
    from magnetar.model.run.measure_run import Task, choose_tokens

    a, tokenizer, weights = source.architecture, open_tokenizer(source), view_as(source, PUBLISHED)
    ids = choose_tokens(tokenizer.encode(text), a)[:COMPARED_ON]
    if not ids:
        raise UsageError("the text to score is empty", hint="give a text of a few hundred words")
    needed = estimate_memory(weights, a, len(ids), ahead=False)
    if not machine.admits(needed):
        raise BootError(f"running takes about {needed:,} bytes, and {machine.say_limit()}")
    ahead = room_ahead(weights, a, len(ids), machine)
    return Task(ids, decoded=1, ahead=ahead, arithmetic=machine.arithmetic()), tokenizer.count_bytes(ids)


def _score(source: CheckpointSource, task: "Task", size: int, emit: Emit) -> RoutingScore:
    from magnetar.model.architecture.routing import Router, Strategy
    from magnetar.model.run.measure_run import examine

    a, strategy = source.architecture, task.strategy
    found = examine(view_as(source, PUBLISHED), a, stored_kind(source), task, emit=emit)
    score = None if found.bits is None else found.bits / size
    flops = Router(strategy, a.n_experts, a.experts_per_token).asked / a.experts_per_token
    trained = strategy is Strategy.TRAINED or strategy.value == f"top{a.experts_per_token}"
    return RoutingScore(strategy.value, score, flops, len(task.ids) / found.seconds, trained)
