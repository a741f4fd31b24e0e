"""Run a model one matrix at a time, in the memory of its largest matrix and of the activations.

A pass over known tokens needs every weight once. So everything that is to be measured goes through the layers together:
the windows of a text in full passes, and the head of the same text decoded token by token, which must come to the same
logits. Where several processes share the layers, or the experts, the pass goes through all of them.

::

    embed                       (process 0)
    for each layer of this process:
        attention, expert by expert the feed-forward
        tell the observer
    logits                      (process 0)
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
from magnetar.model.cluster.shares import SINGLE_PROCESS, ProcessGroup, Share, divide
from magnetar.model.machine.device import EXACT, Arithmetic
from magnetar.model.run.expert_batch import ExpertBatch
from magnetar.model.run.matmul import multiply
from magnetar.model.run.prefetch import ATTENTION, EXPERT


class NotFinite(BootError):
    """An activation or a logit is NaN or infinite."""


class TensorProvider(Protocol):
    """Where the tensors of a model come from.

    ``sequential`` says that all must be taken, in the order of a pass; else any may be taken, or left.
    """

    sequential: bool

    def take(self, name: str) -> Tensor:
        """A tensor as it is stored, on the CPU or the device of the model. Raises what the weights raise."""
        ...


class Observer(Protocol):
    """Is told what happens in a pass, layer by layer."""

    def see_routing(self, layer: int, routing: Routing) -> None:
        """The decisions of the router for all tokens of the batches [N], in their order."""
        ...

    def see_residual(self, layer: int, batches: Sequence[Tensor]) -> None:
        """The residual stream after a layer, for each batch [B, T, D]."""
        ...


class Activations(NamedTuple):
    """What goes through the layers: ``batches`` [B, T, D] in full passes, ``decoded`` [1, T, D] token by token."""

    batches: list[Tensor]
    decoded: Tensor


class Caches:
    """The keys and values of all layers that run here, of the ``length`` positions of a text so far."""

    def __init__(self, layers: range, architecture: Architecture, room: int, arithmetic: Arithmetic) -> None:
        self.length = 0
        self._caches = {layer: new_cache(architecture, room, arithmetic) for layer in layers}

    def __getitem__(self, layer: int) -> KeyValues:
        return self._caches[layer]


def new_cache(architecture: Architecture, room: int, arithmetic: Arithmetic) -> KeyValues:
    """An empty cache of one layer for one text of at most ``room`` positions."""
    return KeyValues(architecture, 1, room, arithmetic.dtype, arithmetic.device)


class StreamedModel:
    """A model whose tensors are taken one by one, or this process's share of it."""

    def __init__(
        self,
        tensors: TensorProvider,
        architecture: Architecture,
        router: Router | None = None,
        arithmetic: Arithmetic = EXACT,
        share: Share | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._tensors, self._architecture, self._arithmetic = tensors, architecture, arithmetic
        a = architecture
        self._router = router or Router(Strategy.TRAINED, a.n_experts, a.experts_per_token)
        self._group, self.share = group, share or divide(a, 0, 1, by_experts=False)

    def embed(self, batches: Sequence[Tensor], decoded: Tensor) -> Activations:
        """Token ids [B, T], and those to be decoded [1, T], to activations.

        Processes other than 0 do not have the embedding: they only make room for what they will receive.
        """
        if not self.share.first:
            ids = [*batches, decoded]
            *empty, last = (self._place(torch.empty(*x.shape, self._architecture.dim)) for x in ids)
            return Activations(empty, last)
        table = self._tensors.take("tok_embeddings.weight")
        *embedded, last = (
            self._place(functional.embedding(ids.to(table.device), table)) for ids in (*batches, decoded)
        )
        return Activations(embedded, last)

    def run(
        self, state: Activations, observer: Observer, emit: Emit = ignore, caches: Caches | None = None
    ) -> Activations:
        """Send activations through all layers, in the process that has each.

        Process 0 returns the activations after the last layer, the others those after their own.

        Raises ``NotFinite`` in all processes, with the name of the layer, where an activation is NaN or infinite.
        """
        failure = self._receive(state)
        if not failure:
            try:
                state = self._run_layers(state, observer, emit, caches)
            except NotFinite as error:
                failure = error.message
        if failure := self._send_on(state, failure):
            raise NotFinite(failure)
        if caches is not None:
            caches.length += state.decoded.shape[1]
        return state

    def logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Activations [B, T, D] to the logits [B, T, V] of each next token, in float32 on the CPU.

        Raises ``NotFinite``.
        """
        norm, output = self._take_placed("norm.weight"), self._tensors.take("output.weight")
        for x in batches:
            normed = self._normalise(x, norm)
            (logits,) = self._multiply([normed], output)
            if not bool(logits.isfinite().all()):
                raise NotFinite("output: its logits are not finite")
            yield logits.float().cpu()

    def _run_layers(self, state: Activations, observer: Observer, emit: Emit, caches: Caches | None) -> Activations:
        for layer in self.share.layers:
            state = self._attend(layer, state, caches)
            state = self._feed_forward(layer, state, observer)
            if not self._is_finite(state):
                raise NotFinite(f"layer {layer}: its activations are not finite")
            observer.see_residual(layer, state.batches)
            emit(Moved(Step.BOOT, 1))
        return state

    def _is_finite(self, state: Activations) -> bool:
        finite = all(bool(x.isfinite().all()) for x in (*state.batches, state.decoded))
        return bool(self._group.broadcast(finite)) if self.share.shared_layers else finite  # all stop, or none

    def _receive(self, state: Activations) -> str:
        """Fill ``state`` with the activations of the processes before this one. Returns their failure, if any."""
        if self.share.shared_layers:
            for x in (*state.batches, state.decoded):
                self._group.broadcast_tensor(x)
        elif not self.share.first:
            return self._group.receive([*state.batches, state.decoded], self._group.rank - 1)
        return ""

    def _send_on(self, state: Activations, failure: str) -> str:
        """Send ``state`` to the next process; the last sends it to process 0. Returns the failure so far, if any."""
        rank, size = self._group.rank, self._group.size
        if size == 1 or self.share.shared_layers:
            return failure
        tensors = [*state.batches, state.decoded]
        self._group.send(tensors, (rank + 1) % size, failure)
        return self._group.receive(tensors, size - 1) if self.share.first else failure

    def _take_placed(self, name: str) -> Tensor:
        """A tensor on the device, in the dtype that is computed in."""
        return self._place(self._tensors.take(name))

    def _place(self, x: Tensor) -> Tensor:
        return x.to(self._arithmetic.device, self._arithmetic.dtype)

    def _normalise(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._architecture.norm_eps)

    def _attend(self, layer: int, state: Activations, caches: Caches | None) -> Activations:
        """Attention and its residual: the batches in full passes, ``decoded`` token by token with a cache."""
        norm = self._take_placed(f"layers.{layer}.attention_norm.weight")
        attention = self._take_attention(layer)
        a, device = self._architecture, self._arithmetic.device
        batches = [
            x + attention(self._normalise(x, norm), Rotation(a, 0, x.shape[1], device), None) for x in state.batches
        ]
        start, length = (caches.length if caches else 0), state.decoded.shape[1]
        cache = caches[layer] if caches else new_cache(a, length, self._arithmetic)
        tokens = [
            x + attention(self._normalise(x, norm), Rotation(a, start + position, 1, device), cache)
            for position, x in enumerate(torch.split(state.decoded, 1, dim=1))
        ]
        return Activations(batches, torch.cat(tokens, dim=1))

    def _take_attention(self, layer: int) -> Attention:
        with torch.device("meta"):
            attention = Attention(self._architecture)
        weights = {
            f"{matrix}.weight": self._take_placed(f"layers.{layer}.attention.{matrix}.weight") for matrix in ATTENTION
        }
        attention.load_state_dict(weights, strict=True, assign=True)
        return attention.requires_grad_(False)

    def _feed_forward(self, layer: int, state: Activations, observer: Observer) -> Activations:
        """The feed-forward and its residual. An expert gets the tokens of all batches together, decoded ones singly."""
        norm = self._take_placed(f"layers.{layer}.ffn_norm.weight")
        single = self._normalise(state.decoded, norm)[0]  # [T, D]
        tokens = torch.cat([single[:0], *(self._normalise(x, norm).flatten(0, 1) for x in state.batches)])  # [N, D]
        prefix = f"layers.{layer}.feed_forward."
        if self._architecture.n_experts:
            answers = self._mix(prefix, layer, tokens, single, observer)
        else:
            whole, *singles = self._run_expert(prefix, [tokens, *torch.split(single, 1)])
            answers = [whole, torch.cat(singles)]
        parts = torch.split(answers[0], [x.shape[0] * x.shape[1] for x in state.batches])
        batches = [x + part.view_as(x) for x, part in zip(state.batches, parts, strict=True)]
        return Activations(batches, state.decoded + answers[1])

    def _mix(self, prefix: str, layer: int, tokens: Tensor, single: Tensor, observer: Observer) -> list[Tensor]:
        """The answers of the experts to ``tokens`` [N, D], and to those that are decoded, ``single`` [T, D]."""
        gate = self._take_placed(f"{prefix}gate.weight")
        one_by_one = torch.cat([token @ gate.T for token in torch.split(single, 1)])
        routings = [self._route(logits.float()) for logits in (tokens @ gate.T, one_by_one)]
        observer.see_routing(layer, routings[0])
        batches = [ExpertBatch(x, routing, self._router) for x, routing in zip((tokens, single), routings, strict=True)]
        for expert in self.share.experts:
            several, alone = (batch.gather(expert) for batch in batches)
            if not (self._tensors.sequential or len(several) or len(alone)):
                continue  # no token chose it, so its matrices are not read
            answers = self._run_expert(f"{prefix}experts.{expert}.", [several, *torch.split(alone, 1)])
            batches[0].scatter(expert, answers[0])
            batches[1].scatter(expert, torch.cat([alone[:0], *answers[1:]]))
        if self.share.shared_layers:
            for batch in batches:
                self._group.all_reduce(batch.answers)
        return [batch.combine() for batch in batches]

    def _route(self, logits: Tensor) -> Routing:
        if self.share.shared_layers:
            self._group.broadcast_tensor(logits)  # machines may round differently, and all must choose the same experts
        return self._router.route(logits)

    def _run_expert(self, prefix: str, groups: Sequence[Tensor]) -> list[Tensor]:
        """The answers of an expert to groups of tokens [n, D], with one of its matrices in memory at a time."""
        names = {matrix: f"{prefix}{matrix}.weight" for matrix in EXPERT}
        gates = [functional.silu(x) for x in self._multiply(groups, self._tensors.take(names["w1"]))]
        ups = self._multiply(groups, self._tensors.take(names["w3"]))
        hidden = [gate.mul_(up) for gate, up in zip(gates, ups, strict=True)]
        return self._multiply(hidden, self._tensors.take(names["w2"]))

    def _multiply(self, groups: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
        return multiply(groups, weight.to(self._arithmetic.device))
