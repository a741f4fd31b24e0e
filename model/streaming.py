"""Running a model one matrix at a time, so that the memory it takes is that of its largest matrix and the activations.

A teacher-forced pass meets every weight once. So all that is to be measured goes through the layers together: the
windows of a text, and the head of the same text decoded token by token, which must come to the same logits.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from magnetar.convert.architecture import Architecture
from magnetar.errors import BootError
from magnetar.events import Emit, Moved, ignore
from magnetar.model.mixtral import Attention, KeyValues, Rotation, Routing
from magnetar.model.reading import ATTENTION, EXPERT, TensorStream
from magnetar.model.routing import Router, Strategy

WIDENED_AT_ONCE = 8 << 20
"""Bytes of float32 that a matrix is widened to at once."""


class NotFinite(BootError):
    """An activation or a logit is NaN or infinite."""


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


class StreamedModel:
    """A model at rest, run once from its first tensor to its last, in the order of ``stream``."""

    def __init__(self, stream: TensorStream, architecture: Architecture, router: Router | None = None) -> None:
        self._stream, self._architecture = stream, architecture
        a = architecture
        self._router = router or Router(Strategy.TRAINED, a.n_experts, a.experts_per_token)

    def embed(self, batches: Sequence[Tensor], decoded: Tensor) -> Activations:
        """Piece ids [B, T], and those to be decoded [1, T], to activations."""
        table = self._stream.take("tok_embeddings.weight")
        return Activations(
            [functional.embedding(ids, table).float() for ids in batches], functional.embedding(decoded, table).float()
        )

    def run(self, state: Activations, observer: Observer, emit: Emit = ignore) -> Activations:
        """Send activations through all layers. Raises ``NotFinite``, naming the layer, where one is not finite."""
        for layer in range(self._architecture.n_layers):
            state = self._attend(layer, state)
            state = self._feed_forward(layer, state, observer)
            if not all(bool(x.isfinite().all()) for x in (*state.batches, state.decoded)):
                raise NotFinite(f"layer {layer}: its activations are not finite")
            observer.see_residual(layer, state.batches)
            emit(Moved("boot", 1))
        return state

    def logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Activations [B, T, D] to the logits [B, T, V] of each next piece. Raises ``NotFinite``."""
        norm, output = self._take("norm.weight"), self._stream.take("output.weight")
        for x in batches:
            normed = self._normalise(x, norm)
            (logits,) = multiply([normed], output)
            if not bool(logits.isfinite().all()):
                raise NotFinite("output: its logits are not finite")
            yield logits

    def _take(self, name: str) -> Tensor:
        return self._stream.take(name).float()

    def _normalise(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._architecture.norm_eps)

    def _attend(self, layer: int, state: Activations) -> Activations:
        norm = self._take(f"layers.{layer}.attention_norm.weight")
        attention = self._take_attention(layer)
        batches = [
            x + attention(self._normalise(x, norm), Rotation(self._architecture, 0, x.shape[1]), None)
            for x in state.batches
        ]
        cache = KeyValues(self._architecture, 1, state.decoded.shape[1], torch.float32)
        tokens = [
            x + attention(self._normalise(x, norm), Rotation(self._architecture, position, 1), cache)
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
        tokens = torch.cat([self._normalise(x, norm).flatten(0, 1) for x in state.batches])  # [N, D]
        single = self._normalise(state.decoded, norm)[0]  # [T, D]
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
        routing = self._router.route((tokens @ gate.T).float())
        each = [self._router.route((token @ gate.T).float()) for token in torch.split(single, 1)]
        alone = Routing(*(torch.cat([getattr(r, name) for r in each]) for name in ("logits", "chosen", "weights")))
        observer.see_routing(layer, routing)
        pools = [Pool(tokens, routing, self._router), Pool(single, alone, self._router)]
        for expert in range(self._architecture.n_experts):
            group, one_by_one = (pool.gather(expert) for pool in pools)
            answers = self._ask_expert(f"{prefix}experts.{expert}.", [group, *torch.split(one_by_one, 1)])
            pools[0].give(expert, answers[0])
            pools[1].give(expert, torch.cat([one_by_one[:0], *answers[1:]]))
        return [pool.answer() for pool in pools]

    def _ask_expert(self, prefix: str, groups: Sequence[Tensor]) -> list[Tensor]:
        """Its answers to groups of tokens [n, D], with one of its matrices in memory at a time."""
        names = {matrix: f"{prefix}{matrix}.weight" for matrix in EXPERT}
        gates = [functional.silu(x) for x in multiply(groups, self._stream.take(names["w1"]))]
        ups = multiply(groups, self._stream.take(names["w3"]))
        hidden = [gate.mul_(up) for gate, up in zip(gates, ups, strict=True)]
        return multiply(hidden, self._stream.take(names["w2"]))


def multiply(groups: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """Each of ``groups`` [..., in] times ``weight`` [out, in] as it is stored, in float32.

    A few rows are widened at a time: they stay in the cache, which is twice as fast as widening the whole.
    """
    rows = max(1, WIDENED_AT_ONCE // (4 * weight.shape[1]))
    parts = []
    for block in torch.split(weight, rows):
        widened = block.float()
        parts.append([group @ widened.T for group in groups])
    return [torch.cat(outputs, dim=-1) for outputs in zip(*parts, strict=True)]


class Pool:
    """Tokens [N, D] of one layer, and the answers that their experts give to them."""

    def __init__(self, tokens: Tensor, routing: Routing, router: Router) -> None:
        self._tokens, self._routing, self._router = tokens, routing, router
        kept = (*routing.chosen.shape, tokens.shape[1]) if router.chooses_late else tokens.shape
        self._answers = torch.zeros(kept)  # [N, E, D] where the answers decide, else their weighted sum [N, D]

    def gather(self, expert: int) -> Tensor:
        """The tokens that chose an expert [n, D]."""
        return self._tokens[self._find(expert)[0]]

    def give(self, expert: int, answers: Tensor) -> None:
        """Take the expert's answers to what ``gather`` gave."""
        owners, slots = self._find(expert)
        if self._router.chooses_late:
            self._answers[owners, slots] = answers
        else:
            self._answers.index_add_(0, owners, answers * self._routing.weights[owners, slots, None])

    def answer(self) -> Tensor:
        """What all experts together say to each token [N, D]."""
        if not self._router.chooses_late:
            return self._answers
        weights = self._router.choose_loudest(self._routing, self._answers)
        return torch.einsum("ne,ned->nd", weights, self._answers)

    def _find(self, expert: int) -> tuple[Tensor, Tensor]:
        owners, slots = (self._routing.chosen == expert).nonzero(as_tuple=True)
        return owners, slots
