"""Run a checkpoint once over a text, and measure what can be measured: numbers, and no judgement of them.

The text is cut into windows of 512 tokens, each opened by ``<s>``. All windows go through the layers together, so that
every weight is read once; the head of the first window is also decoded token by token. From the logits come the score
of the text, the difference between the two ways, and the fingerprint of the first window.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from magnetar.convert.layout.architecture import Architecture
from magnetar.events import Began, Emit, Ended, Step, ignore
from magnetar.model.architecture.routing import Router, Strategy
from magnetar.model.cluster.shares import SINGLE_PROCESS, ProcessGroup, Share, divide
from magnetar.model.machine.device import EXACT, Arithmetic
from magnetar.model.machine.machine import NEXT_ONE
from magnetar.model.run.fingerprint import TOP, Array, Fingerprint
from magnetar.model.run.prefetch import OnRead, TensorStream, reading_order
from magnetar.model.run.run_facts import RunFacts
from magnetar.model.run.scoring import cut_windows
from magnetar.model.run.streamed_model import Activations, NotFinite, StreamedModel
from magnetar.model.run.trace import Trace
from magnetar.model.run.weights import Weights

WINDOW = 512
"""Tokens of context: enough that every expert of every layer of a Mixtral is met in one window."""

WINDOWS_AT_ONCE = 4
"""Windows that run together, so that every expert has enough tokens to be worth a call."""

MAX_WORK = 30_000_000_000
"""Weights times tokens that a test may cost: seconds on two cores. A model too big for that is scored on one window."""

MAX_DECODE_WORK = 2_000_000_000
"""Weights times tokens that are also decoded one by one: each of those reads every weight anew."""

MAX_DECODED, MIN_DECODED = 64, 4
"""Tokens that are also decoded one by one."""

EARLY_POSITIONS, LATE_POSITIONS = 16, 64
"""Positions at the beginning and at the end of a window whose losses are reported apart."""

ROUTED_TOKENS = 256
"""Tokens for which it is kept which experts answered them."""


@dataclass(frozen=True, slots=True, eq=False)
class RunPlan:
    """What to run, and how.

    ``ids`` are the token ids of a text, and ``text_bytes`` the bytes that they stand for (0 if not known). If the ids
    of ``golden`` are not the head of that text, they are run as a window of their own, before it. ``other_ids`` [t, K]
    are tokens whose logits are kept at the first t positions of the first window. The first ``decoded`` tokens are also
    decoded one by one. ``ahead`` is how many bytes of tensors may be read ahead.
    """

    ids: Sequence[int]
    text_bytes: int = 0
    golden: Fingerprint | None = None
    other_ids: Array | None = None
    strategy: Strategy = Strategy.TRAINED
    decoded: int = MAX_DECODED
    ahead: int = NEXT_ONE
    arithmetic: Arithmetic = EXACT


class Windows(NamedTuple):
    """``inputs`` and ``targets`` [B, T] of every window. The text's own begin at index ``text_from``."""

    inputs: list[Tensor]
    targets: list[Tensor]
    text_from: int


class ReadOut(NamedTuple):
    """What the logits say. ``losses`` are the bits of every target [B, T]; ``first_logits`` [T, V] of window one."""

    losses: list[Tensor]
    decode_difference: float
    first_logits: Tensor


def choose_tokens(ids: Sequence[int], architecture: Architecture) -> Sequence[int]:
    """The head of a text that a test of such a model scores: by the model's size alone, so that it can be repeated."""
    return ids[: max(WINDOW, MAX_WORK // architecture.active_parameters // WINDOW * WINDOW)]


def count_decoded(architecture: Architecture) -> int:
    """How many tokens to decode one by one."""
    return max(MIN_DECODED, min(MAX_DECODED, MAX_DECODE_WORK // architecture.active_parameters))


def measure_run(
    weights: Weights,
    architecture: Architecture,
    kind: str,
    plan: RunPlan,
    on_read: OnRead | None = None,
    emit: Emit = ignore,
    *,
    share: Share | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> RunFacts:
    """Run the model once over every tensor. ``kind`` is the dtype of the weights, for the fingerprint.

    With a ``group`` of several processes, each runs its ``share`` of the model. Process 0 returns the facts of the
    whole run, the others what they saw of their share.

    Raises ``CheckpointError`` or ``DiskError`` if a tensor cannot be read.
    """
    began = time.monotonic()
    windows = _cut_plan(plan)
    share = share or divide(architecture, 0, 1, by_experts=False)
    router = Router(plan.strategy, architecture.n_experts, architecture.experts_per_token)
    trace = Trace(architecture.n_layers, windows.inputs[0].shape[1], ROUTED_TOKENS)
    order = [name for name in reading_order(architecture) if share.reads(name)]
    state, read_out, not_finite = None, None, None
    emit(Began(Step.BOOT, len(share.layers), "layers"))
    with TensorStream(weights, order, on_read, plan.ahead) as stream, torch.inference_mode():
        model = StreamedModel(stream, architecture, router, plan.arithmetic, share, group)
        try:
            state = model.run(model.embed(windows.inputs, windows.inputs[0][:, : plan.decoded]), trace, emit)
        except NotFinite as error:
            not_finite = error.message
        # Also after a failure: the other processes wait here.
        trace.merge(group.gather(trace.to_plain()), share)
        if state is not None and share.first:
            try:
                read_out = _read_out(model, state, windows.targets, plan.decoded)
            except NotFinite as error:
                not_finite = error.message
    emit(Ended(Step.BOOT))
    return _gather_facts(plan, windows, kind, trace, read_out, not_finite, time.monotonic() - began)


def _cut_plan(plan: RunPlan) -> Windows:
    """Cut the text into windows; the window of the fingerprint comes first, and is the text's own if they agree."""
    head, rest = plan.ids[:WINDOW], plan.ids[WINDOW:]
    golden = None if plan.golden is None else plan.golden.ids.tolist()
    windows = [*cut_windows(head, WINDOW), *(cut_windows(rest, WINDOW, WINDOWS_AT_ONCE) if rest else ())]
    text_from = 0
    if golden is not None and golden != list(head):
        windows.insert(0, next(cut_windows(golden, len(golden))))
        text_from = 1
    inputs, targets = zip(*windows, strict=True)
    return Windows(list(inputs), list(targets), text_from)


def _read_out(model: StreamedModel, state: Activations, targets: list[Tensor], decoded: int) -> ReadOut:
    """Take the logits window by window, since all of them would not fit in memory. Raises ``NotFinite``."""
    logits = model.logits([*state.batches, state.decoded])
    first = next(logits)  # [1, T, V]
    losses = [_count_losses(first, targets[0])]
    losses += [_count_losses(next(logits), target) for target in targets[1:]]
    difference = _compare_decoded(first[:, :decoded], next(logits))
    return ReadOut(losses, difference, first[0])


def _gather_facts(
    plan: RunPlan,
    windows: Windows,
    kind: str,
    trace: Trace,
    read_out: ReadOut | None,
    not_finite: str | None,
    seconds: float,
) -> RunFacts:
    """The facts of the run; without ``read_out`` those of the layers alone."""
    first_ids = windows.targets[0][0]
    seen = RunFacts(
        ids=tuple(plan.ids),
        text_bytes=plan.text_bytes,
        routing=plan.strategy.value,
        exact=plan.arithmetic.dtype == torch.float32,
        seconds=seconds,
        not_finite=not_finite,
        expert_load=trace.shares,
        chosen_experts=tuple(tuple(tuple(token) for token in layer) for layer in trace.chosen),
        residual_rms=tuple(trace.residual_rms),
        first_window=tuple(first_ids.tolist()),
    )
    if read_out is None:
        return seen
    scored = read_out.losses[windows.text_from :]
    whole = torch.cat([loss for loss in scored if loss.shape[1] == scored[0].shape[1]])  # a last, short window is not
    logits = read_out.first_logits
    return replace(
        seen,
        bits=sum(float(loss.numpy().sum(dtype="f8")) for loss in scored),
        early_bits=float(whole[:, :EARLY_POSITIONS].mean()),
        late_bits=float(whole[:, -LATE_POSITIONS:].mean()),
        decode_difference=None if plan.strategy is Strategy.RANDOM else read_out.decode_difference,
        first_window_bits=read_out.losses[0][0].numpy(),
        fingerprint=_take_fingerprint(logits, first_ids, trace, kind),
        logits_at_golden=None if plan.golden is None else _pick_logits(logits, plan.golden.top_ids),
        logits_at_other=None if plan.other_ids is None else _pick_logits(logits, plan.other_ids),
    )


def _pick_logits(logits: Tensor, tokens: Array) -> Array:
    """The logits [T, V] of certain ``tokens`` [t, K], at the first t positions."""
    return logits[: len(tokens)].gather(1, torch.from_numpy(tokens.astype(np.int64))).numpy()


def _compare_decoded(whole: Tensor, decoded: Tensor) -> float:
    """The largest difference of two sets of logits [1, t, V], as a share of the largest logit."""
    return float((decoded - whole).abs().max() / whole.abs().max().clamp(min=1.0))


def _count_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The bits [B, T] that each target costs."""
    nats = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view_as(targets) / math.log(2)


def _take_fingerprint(logits: Tensor, ids: Tensor, trace: Trace, kind: str) -> Fingerprint:
    top = logits.topk(min(TOP, logits.shape[-1]))
    return Fingerprint(
        kind=kind,
        ids=ids.numpy().astype(np.int32),
        top_ids=top.indices.numpy().astype(np.int32),
        top_logits=top.values.numpy(),
        logsumexp=logits.logsumexp(-1).numpy(),
        residual_rms=np.array(trace.residual_rms, np.float32),
        residual_samples=np.array(trace.samples, np.float32),
        expert_counts=np.array(trace.counts, np.int32).reshape(len(trace.residual_rms), -1),
    )
