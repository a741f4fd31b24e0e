"""What is measured when a checkpoint is run: numbers, and no judgement of them."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from magnetar.convert.layout.architecture import Architecture
from magnetar.events import Began, Emit, Ended, Step, ignore
from magnetar.model.architecture.routing import Router, Strategy
from magnetar.model.cluster.shares import ALONE, Crew, Share, divide
from magnetar.model.machine.device import EXACT, Arithmetic
from magnetar.model.machine.machine import NEXT_ONE
from magnetar.model.run.fingerprint import TOP, Array, Fingerprint
from magnetar.model.run.prefetch import Look, TensorStream, reading_order
from magnetar.model.run.scoring import cut_windows
from magnetar.model.run.streamed_model import Activations, NotFinite, StreamedModel
from magnetar.model.run.trace import Trace
from magnetar.model.run.weights import Weights

WINDOW = 512
"""Tokens of context: enough that every expert of every layer of a Mixtral is met in one window."""

WINDOWS_AT_ONCE = 4
"""Run together, so that every expert has enough tokens to be worth a call."""

WORK = 30_000_000_000
"""Weights times tokens that a test may cost: seconds on two cores. A model too big for that is scored on one window."""

DECODE_WORK = 2_000_000_000
"""Weights times tokens that are also decoded one by one: those read every weight anew."""

MOST_DECODED, LEAST_DECODED = 64, 4

EARLY, LATE = 16, 64
"""Positions of a window whose losses are told apart from the others'."""

CONDUCTED = 256
"""Tokens for which it is kept who answered them."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to run: ``ids`` of a text, cut into windows, and those of a fingerprint, a window before them if another.

    ``other`` [T, K] are pieces whose logits are kept too, at the first positions of the first window. ``decoded`` is
    how many of the first window's tokens are also decoded one by one; ``ahead`` is in bytes.
    """

    ids: Sequence[int]
    golden: Fingerprint | None = None
    other: Array | None = None
    strategy: Strategy = Strategy.TRAINED
    decoded: int = MOST_DECODED
    ahead: int = NEXT_ONE
    arithmetic: Arithmetic = EXACT


@dataclass(slots=True)
class Examination:
    """What was measured; see ``BootReport`` for the units. ``not_finite`` says where a number was not.

    ``fingerprint`` is of the first window; ``at_golden`` are its logits of the golden pieces, ``at_other`` those of the
    pieces that the task names.
    """

    trace: Trace
    bits: float | None = None
    early_bits: float | None = None
    late_bits: float | None = None
    decode_difference: float | None = None
    not_finite: str | None = None
    fingerprint: Fingerprint | None = None
    at_golden: Array | None = None
    at_other: Array | None = None
    seconds: float = 0.0
    losses: list[Tensor] = field(default_factory=list)
    """Bits of every target [B, T], batch by batch."""

    def cost_of_first(self, count: int) -> float:
        """The bits of the first ``count`` targets of the first window."""
        return float(self.losses[0][0, :count].double().sum())


def choose_tokens(ids: Sequence[int], architecture: Architecture) -> Sequence[int]:
    """The head of a text that a test of such a model scores: by the model's size alone, so that it can be repeated."""
    return ids[: max(WINDOW, WORK // architecture.active_parameters // WINDOW * WINDOW)]


def count_decoded(architecture: Architecture) -> int:
    """How many tokens to decode one by one."""
    return max(LEAST_DECODED, min(MOST_DECODED, DECODE_WORK // architecture.active_parameters))


def examine(
    weights: Weights,
    architecture: Architecture,
    kind: str,
    task: Task,
    look: Look | None = None,
    emit: Emit = ignore,
    *,
    share: Share | None = None,
    crew: Crew = ALONE,
) -> Examination:
    """Run the model over every tensor once, and see what there is to see. ``kind`` is the dtype for a fingerprint.

    With a ``crew``, every process runs its ``share`` of the model; what was seen comes together in the first, and the
    others return what they saw themselves.

    Raises ``CheckpointError`` or ``DiskError`` if a tensor cannot be read.
    """
    began = time.monotonic()
    inputs, targets, extra = _cut(task)
    trace = Trace(architecture.n_layers, inputs[0].shape[1], CONDUCTED)
    found = Examination(trace)
    share = share or divide(architecture, 0, 1, by_experts=False)
    emit(Began(Step.BOOT, len(share.layers), "layers"))
    router = Router(task.strategy, architecture.n_experts, architecture.experts_per_token)
    order = [name for name in reading_order(architecture) if share.reads(name)]
    with TensorStream(weights, order, look, task.ahead) as stream, torch.inference_mode():
        model = StreamedModel(stream, architecture, router, task.arithmetic, share, crew)
        state = _run(model, inputs, inputs[0][:, : task.decoded], found, emit)
        trace.join(crew.gather(trace.tell()), share)
        if state is not None and share.first:
            _read_out(model, state, targets, found, task, kind)
    emit(Ended(Step.BOOT))
    if found.not_finite is None and share.first:
        _add_up(found, found.losses[extra:])
    found.seconds = time.monotonic() - began
    return found


def _cut(task: Task) -> tuple[list[Tensor], list[Tensor], int]:
    """Inputs and targets of every window, the one for the fingerprint first; and how many come before the text's."""
    head, rest = task.ids[:WINDOW], task.ids[WINDOW:]
    golden = None if task.golden is None else task.golden.ids.tolist()
    windows = [*cut_windows(head, WINDOW), *(cut_windows(rest, WINDOW, WINDOWS_AT_ONCE) if rest else ())]
    extra = golden is not None and golden != list(head)
    if golden is not None and extra:
        windows.insert(0, next(cut_windows(golden, len(golden))))
    inputs, targets = zip(*windows, strict=True)
    return list(inputs), list(targets), int(extra)


def _run(
    model: StreamedModel, inputs: list[Tensor], decoded: Tensor, found: Examination, emit: Emit
) -> Activations | None:
    try:
        return model.run(model.embed(inputs, decoded), found.trace, emit)
    except NotFinite as error:
        found.not_finite = error.message
        return None


def _read_out(
    model: StreamedModel, state: Activations, targets: list[Tensor], found: Examination, task: Task, kind: str
) -> None:
    several = model.logits([*state.batches, state.decoded])
    first = None
    try:
        for target, logits in zip([*targets, None], several, strict=True):
            if first is None:
                first = logits
            if target is None:
                found.decode_difference = _compare_decoded(first[:, : task.decoded], logits)
            else:
                found.losses.append(_count_losses(logits, target))
    except NotFinite as error:
        found.not_finite = error.message
        return
    if first is not None:
        found.fingerprint = _take_fingerprint(first[0], targets[0][0], found.trace, kind)
        found.at_golden = None if task.golden is None else _pick(first[0], task.golden.top_ids)
        found.at_other = None if task.other is None else _pick(first[0], task.other)


def _pick(logits: Tensor, pieces: Array) -> Array:
    """The logits [T, V] of certain pieces [t, K], at the first t positions."""
    return logits[: len(pieces)].gather(1, torch.from_numpy(pieces.astype(np.int64))).numpy()


def _compare_decoded(whole: Tensor, decoded: Tensor) -> float:
    return float((decoded - whole).abs().max() / whole.abs().max().clamp(min=1.0))


def _count_losses(logits: Tensor, targets: Tensor) -> Tensor:
    nats = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view_as(targets) / math.log(2)


def _add_up(found: Examination, losses: Sequence[Tensor]) -> None:
    found.bits = float(sum(loss.double().sum() for loss in losses))
    whole = torch.cat([loss for loss in losses if loss.shape[1] == losses[0].shape[1]])
    found.early_bits = float(whole[:, :EARLY].mean())
    found.late_bits = float(whole[:, -LATE:].mean())


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
