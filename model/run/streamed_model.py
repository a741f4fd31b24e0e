"""Running a model one matrix at a time, so that the memory it takes is that of its largest matrix and the activations.

A teacher-forced pass meets every weight once. So all that is to be measured goes through the layers together: the
windows of a text, and the head of the same text decoded token by token, which must come to the same logits. Where
several processes share the layers, or the experts, the pass goes through all of them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import BootError
from magnetar.events import Emit, Moved, Step, ignore
from magnetar.model.architecture.mixtral import Attention, KeyValues, Rotation, Routing
from magnetar.model.architecture.routing import Router, Strategy
from magnetar.model.cluster.shares import ALONE, Crew, Share, divide
from magnetar.model.machine.device import EXACT, Arithmetic
from magnetar.model.run.expert_batch import Pool
from magnetar.model.run.matmul import multiply
from magnetar.model.run.prefetch import ATTENTION, EXPERT


class NotFinite(BootError):
    """An activation or a logit is NaN or infinite."""


class Tensors(Protocol):
    """Where a model's tensors come from, by name. ``in_turn``: all must be taken, in the order of a pass."""

    in_turn: bool

    def take(self, name: str) -> Tensor:
        """A tensor as it is stored, on the CPU or where the model computes. Raises as the weights do."""
        ...


class Observer(Protocol):
    """Sees what happens in a pass, layer by layer."""

    def see_routing(self, layer: int, routing: Routing) -> None:
        """What the router decided for every token of the batches [N], in their order."""
        ...

    def see_residual(self, layer: int, batches: Sequence[Tensor]) -> None:
        """What a layer left in the residual stream, for each batch [B, T, D]."""
        ...


class Activations(NamedTuple):
    """What goes through the layers: ``batches`` [B, T, D] in full passes, ``decoded`` [1, T, D] token by token."""

    batches: list[Tensor]
    decoded: Tensor


class Past:
    """The keys and values of all layers that run here, for texts that are written on: ``length`` positions so far."""

    def __init__(self, layers: range, architecture: Architecture, room: int, arithmetic: Arithmetic) -> None:
        self.length = 0
        self._caches = {layer: new_cache(architecture, room, arithmetic) for layer in layers}

    def __getitem__(self, layer: int) -> KeyValues:
        return self._caches[layer]


def new_cache(architecture: Architecture, room: int, arithmetic: Arithmetic) -> KeyValues:
    """Room for one text's keys and values of one layer."""
    return KeyValues(architecture, 1, room, arithmetic.dtype, arithmetic.device)


class StreamedModel:
    """A model at rest, or this process's share of it, run from its first tensor to its last."""

    def __init__(
        self,
        tensors: Tensors,
        architecture: Architecture,
        router: Router | None = None,
        arithmetic: Arithmetic = EXACT,
        share: Share | None = None,
        crew: Crew = ALONE,
    ) -> None:
        self._tensors, self._architecture, self._arithmetic = tensors, architecture, arithmetic
        a = architecture
        self._router = router or Router(Strategy.TRAINED, a.n_experts, a.experts_per_token)
        self._crew, self.share = crew, share or divide(a, 0, 1, by_experts=False)

    def embed(self, batches: Sequence[Tensor], decoded: Tensor) -> Activations:
        """Piece ids [B, T], and those to be decoded [1, T], to activations; room for them where others embed."""
        if not self.share.first:
            ids = [*batches, decoded]
            *empty, last = (self._place(torch.empty(*x.shape, self._architecture.dim)) for x in ids)
            return Activations(empty, last)
        table = self._tensors.take("tok_embeddings.weight")
        *embedded, last = (
            self._place(functional.embedding(ids.to(table.device), table)) for ids in (*batches, decoded)
        )
        return Activations(embedded, last)

    def run(self, state: Activations, observer: Observer, emit: Emit = ignore, past: Past | None = None) -> Activations:
        """Send activations through all layers. Raises ``NotFinite``, naming the layer, where one is not finite.

        What comes out is whole in the first process, and in the others what they came to.
        """
        trouble = self._receive(state)
        if not trouble:
            try:
                state = self._run_layers(state, observer, emit, past)
            except NotFinite as error:
                trouble = error.message
        if trouble := self._hand_on(state, trouble):
            raise NotFinite(trouble)
        if past is not None:
            past.length += state.decoded.shape[1]
        return state

    def logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Activations [B, T, D] to the logits [B, T, V] of each next piece in float32, on the CPU.

        Raises ``NotFinite``.
        """
        norm, output = self._take("norm.weight"), self._tensors.take("output.weight")
        for x in batches:
            normed = self._normalise(x, norm)
            (logits,) = self._multiply([normed], output)
            if not bool(logits.isfinite().all()):
                raise NotFinite("output: its logits are not finite")
            yield logits.float().cpu()

    def _run_layers(self, state: Activations, observer: Observer, emit: Emit, past: Past | None) -> Activations:
        for layer in self.share.layers:
            state = self._attend(layer, state, past)
            state = self._feed_forward(layer, state, observer)
            if not self._is_finite(state):
                raise NotFinite(f"layer {layer}: its activations are not finite")
            observer.see_residual(layer, state.batches)
            emit(Moved(Step.BOOT, 1))
        return state

    def _is_finite(self, state: Activations) -> bool:
        finite = all(bool(x.isfinite().all()) for x in (*state.batches, state.decoded))
        return bool(self._crew.tell(finite)) if self.share.shared_layers else finite  # all stop, or none

    def _receive(self, state: Activations) -> str:
        """Fill ``state`` with what the processes before this one came to; what went wrong there, if anything did."""
        if self.share.shared_layers:
            for x in (*state.batches, state.decoded):
                self._crew.level(x)
        elif not self.share.first:
            return self._crew.receive([*state.batches, state.decoded], self._crew.rank - 1)
        return ""

    def _hand_on(self, state: Activations, trouble: str) -> str:
        """Send ``state`` to the next process; the first, which sent it round, gets it back. What went wrong so far."""
        rank, size = self._crew.rank, self._crew.size
        if size == 1 or self.share.shared_layers:
            return trouble
        tensors = [*state.batches, state.decoded]
        self._crew.send(tensors, (rank + 1) % size, trouble)
        return self._crew.receive(tensors, size - 1) if self.share.first else trouble

    def _take(self, name: str) -> Tensor:
        return self._place(self._tensors.take(name))

    def _place(self, x: Tensor) -> Tensor:
        return x.to(self._arithmetic.device, self._arithmetic.dtype)

    def _normalise(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._architecture.norm_eps)

    def _attend(self, layer: int, state: Activations, past: Past | None) -> Activations:
        norm = self._take(f"layers.{layer}.attention_norm.weight")
        attention = self._take_attention(layer)
        a, device = self._architecture, self._arithmetic.device
        batches = [
            x + attention(self._normalise(x, norm), Rotation(a, 0, x.shape[1], device), None) for x in state.batches
        ]
        start, length = (past.length if past else 0), state.decoded.shape[1]
        cache = past[layer] if past else new_cache(a, length, self._arithmetic)
        tokens = [
            x + attention(self._normalise(x, norm), Rotation(a, start + position, 1, device), cache)
            for position, x in enumerate(torch.split(state.decoded, 1, dim=1))
        ]
        return Activations(batches, torch.cat(tokens, dim=1))

    def _take_attention(self, layer: int) -> Attention:
        with torch.device("meta"):
            attention = Attention(self._architecture)
        weights = {f"{matrix}.weight": self._take(f"layers.{layer}.attention.{matrix}.weight") for matrix in ATTENTION}
        attention.load_state_dict(weights, strict=True, assign=True)
        return attention.requires_grad_(False)

    def _feed_forward(self, layer: int, state: Activations, observer: Observer) -> Activations:
        """Every expert reads all tokens that chose it: those of the batches together, those decoded one by one."""
        norm = self._take(f"layers.{layer}.ffn_norm.weight")
        single = self._normalise(state.decoded, norm)[0]  # [T, D]
        tokens = torch.cat([single[:0], *(self._normalise(x, norm).flatten(0, 1) for x in state.batches)])  # [N, D]
        prefix = f"layers.{layer}.feed_forward."
        if self._architecture.n_experts:
            answers = self._mix(prefix, layer, tokens, single, observer)
        else:
            answers = self._ask_expert(prefix, [tokens, *torch.split(single, 1)])
            answers = [answers[0], torch.cat(answers[1:])]
        parts = torch.split(answers[0], [x.shape[0] * x.shape[1] for x in state.batches])
        batches = [x + part.view_as(x) for x, part in zip(state.batches, parts, strict=True)]
        return Activations(batches, state.decoded + answers[1])

    def _mix(self, prefix: str, layer: int, tokens: Tensor, single: Tensor, observer: Observer) -> list[Tensor]:
        gate = self._take(f"{prefix}gate.weight")
        one_by_one = torch.cat([token @ gate.T for token in torch.split(single, 1)])
        routings = [self._route(logits.float()) for logits in (tokens @ gate.T, one_by_one)]
        observer.see_routing(layer, routings[0])
        pools = [Pool(x, routing, self._router) for x, routing in zip((tokens, single), routings, strict=True)]
        for expert in self.share.experts:
            group, alone = (pool.gather(expert) for pool in pools)
            if not (self._tensors.in_turn or len(group) or len(alone)):
                continue  # nobody asks it, so it is not touched
            answers = self._ask_expert(f"{prefix}experts.{expert}.", [group, *torch.split(alone, 1)])
            pools[0].give(expert, answers[0])
            pools[1].give(expert, torch.cat([alone[:0], *answers[1:]]))
        if self.share.shared_layers:
            for pool in pools:
                self._crew.add_up(pool.answers)
        return [pool.answer() for pool in pools]

    def _route(self, logits: Tensor) -> Routing:
        if self.share.shared_layers:
            self._crew.level(logits)  # other machines may round otherwise, and all must ask the same experts
        return self._router.route(logits)

    def _ask_expert(self, prefix: str, groups: Sequence[Tensor]) -> list[Tensor]:
        """Its answers to groups of tokens [n, D], with one of its matrices in memory at a time."""
        names = {matrix: f"{prefix}{matrix}.weight" for matrix in EXPERT}
        gates = [functional.silu(x) for x in self._multiply(groups, self._tensors.take(names["w1"]))]
        ups = self._multiply(groups, self._tensors.take(names["w3"]))
        hidden = [gate.mul_(up) for gate, up in zip(gates, ups, strict=True)]
        return self._multiply(hidden, self._tensors.take(names["w2"]))

    def _multiply(self, groups: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
        return multiply(groups, weight.to(self._arithmetic.device))
