"""What is measured when a checkpoint is run: numbers, and no judgement of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from magnetar.convert.architecture import Architecture
from magnetar.convert.view import View
from magnetar.events import Began, Emit, Ended
from magnetar.model.generate import generate_greedily
from magnetar.model.load import check_weights, load_model
from magnetar.model.scoring import ExpertLoad, count_bits, cut_windows, routing_entropy
from magnetar.model.streaming import NotFinite, StreamedModel
from magnetar.model.tokenizer import Tokenizer

WINDOW = 512
"""Tokens of context: enough that every expert of every layer of a Mixtral is met in one window."""

WINDOWS_AT_ONCE = 4
"""Run together, so that every expert has enough tokens to be worth a call."""

WORK = 30_000_000_000
"""Weights times tokens that a test may cost: seconds on two cores. A model too big for that is scored on one window."""

DECODED = 64
"""Tokens that are also decoded one by one, to be compared with the full pass."""

PROMPT = 32
"""Tokens of the text that the sample goes on from."""

SAMPLE_MEMORY = 2 << 30
"""Bytes of float32 weights up to which a whole model is held in memory for a sample."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was measured; see ``BootReport`` for the units.

    ``not_finite`` says where a number was not; ``empty`` names the tensors that hold nothing but zeros.
    """

    bits_per_byte: float | None
    tokens: int
    text_bytes: int
    decode_difference: float | None
    expert_load: tuple[tuple[float, ...], ...]
    routing_entropy: float | None
    sample: str | None
    scoring_seconds: float
    not_finite: str | None
    empty: tuple[str, ...]


def choose_tokens(ids: Sequence[int], architecture: Architecture) -> Sequence[int]:
    """The head of a text that a test of such a model scores: by the model's size alone, so that it can be repeated."""
    return ids[: max(WINDOW, WORK // architecture.active_parameters // WINDOW * WINDOW)]


def examine(
    view: View, architecture: Architecture, tokenizer: Tokenizer, ids: Sequence[int], greedy_tokens: int, emit: Emit
) -> Examination:
    """Run the model on ``ids``. Raises ``BootError`` if a tensor does not fit, or what reading one raises."""
    check_weights(view, architecture)
    began = time.monotonic()
    model = StreamedModel(view, architecture)
    loads = [ExpertLoad() for _ in range(architecture.n_layers)]
    emit(Began("boot", architecture.n_layers, "layers"))
    scores = _score(model, ids, loads, emit)
    emit(Ended("boot"))
    scoring_seconds = time.monotonic() - began
    sample = None
    if scores.not_finite is None and fits_in_memory(architecture):
        prompt = ids[:PROMPT]
        written = generate_greedily(load_model(view, architecture), prompt, greedy_tokens)
        sample = tokenizer.decode([*prompt, *written])
    size = tokenizer.count_bytes(ids)
    shares = tuple(load.shares for load in loads if load.shares)
    return Examination(
        bits_per_byte=None if scores.bits is None else scores.bits / size,
        tokens=len(ids),
        text_bytes=size,
        decode_difference=scores.decode_difference,
        expert_load=shares,
        routing_entropy=routing_entropy(shares) if shares else None,
        sample=sample,
        scoring_seconds=scoring_seconds,
        not_finite=scores.not_finite,
        empty=tuple(sorted(set(model.empty))),
    )


def fits_in_memory(architecture: Architecture) -> bool:
    """Whether the whole model is small enough to be held for a sample."""
    return 4 * architecture.total_parameters <= SAMPLE_MEMORY


class _Scores(NamedTuple):
    bits: float | None
    decode_difference: float | None
    not_finite: str | None


@torch.inference_mode()
def _score(model: StreamedModel, ids: Sequence[int], loads: Sequence[ExpertLoad], emit: Emit) -> _Scores:
    """The bits that ``ids`` cost, and how far decoding their head strays from the full pass."""
    inputs, targets = zip(*cut_windows(ids, WINDOW, WINDOWS_AT_ONCE), strict=True)
    try:
        batches = model.embed(inputs)
        decoded = model.run(batches, batches[0][:1, :DECODED], loads, emit)
        head, again = model.logits([batches[0][:1, :DECODED], decoded])
        bits = sum(count_bits(logits, target) for logits, target in zip(model.logits(batches), targets, strict=True))
    except NotFinite as error:
        return _Scores(None, None, error.message)
    return _Scores(bits, float((again - head).abs().max() / head.abs().max().clamp(min=1.0)), None)
