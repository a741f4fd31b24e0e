"""Weights seen through a change: tensors exchanged, or their rows moved, with nothing written. numpy, no torch."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.model.run.weights import Weights

Words = np.ndarray[Any, np.dtype[Any]]
"""The numbers of a tensor as unsigned integers of their width, in its shape: to be moved, not to be computed with."""

Turn = Callable[[Words], Words]
"""Moves the numbers of one tensor."""


@dataclass(frozen=True, slots=True)
class Change:
    """``sources`` names the tensor that is read in place of another. ``turns`` are applied to tensors after reading."""

    sources: Mapping[str, str] = field(default_factory=dict)
    turns: Mapping[str, Turn] = field(default_factory=dict)


class AlteredWeights:
    """Weights after a change, which leaves their shapes as they were."""

    def __init__(self, weights: Weights, change: Change) -> None:
        self._weights, self._change = weights, change
        self.specs = weights.specs

    def read(self, name: str) -> bytearray:
        """One tensor's bytes. Raises what the weights themselves raise."""
        content = self._weights.read(self._change.sources.get(name, name))
        turn = self._change.turns.get(name)
        if turn is None:
            return content
        turned = np.ascontiguousarray(turn(as_words(self.specs[name], content)))
        return bytearray(turned.reshape(-1).view(np.uint8).data)


class HeldWeights:
    """Weights that are held in memory as they are stored, so that they can be run many times."""

    def __init__(self, weights: Weights) -> None:
        self.specs = weights.specs
        self._contents = {name: bytes(weights.read(name)) for name in weights.specs}

    def read(self, name: str) -> bytearray:
        """One tensor's bytes, writable."""
        return bytearray(self._contents[name])


def as_words(spec: TensorSpec, content: bytearray) -> Words:
    """The bytes of a tensor as words in its shape, writable."""
    width = spec.nbytes // math.prod(spec.shape)
    return np.frombuffer(content, f"<u{width}").reshape(spec.shape)


def split_halves(heads: int) -> Turn:
    """Interleaved rotary rows of ``heads`` heads to rows split in halves, as transformers has them."""
    return lambda words: words.reshape(heads, -1, 2, words.shape[1]).swapaxes(1, 2).reshape(words.shape)


def interleave(heads: int) -> Turn:
    """Rotary rows split in halves back to interleaved ones, as the publisher has them."""
    return lambda words: words.reshape(heads, 2, -1, words.shape[1]).swapaxes(1, 2).reshape(words.shape)


def transpose_within(words: Words) -> Words:
    """The mistake: a matrix transposed, and then read as if it had its old shape."""
    return np.ascontiguousarray(words.T).reshape(words.shape)


def transpose_back(words: Words) -> Words:
    """What undoes ``transpose_within``."""
    return np.ascontiguousarray(words.reshape(words.shape[::-1]).T)


def shift_rows(by: int) -> Turn:
    """Every row ``by`` places further down; the last rows go to the top."""
    return lambda words: np.roll(words, by, axis=0)


def attention_weights(matrix: str, layers: Iterable[int]) -> list[str]:
    """The names of one of the matrices of attention in ``layers``."""
    return [f"layers.{layer}.attention.{matrix}.weight" for layer in layers]


def turn_each(names: Iterable[str], turn: Turn) -> Change:
    """The same turn for several tensors."""
    return Change(turns=dict.fromkeys(names, turn))


def expert_weights(
    architecture: Architecture, layer: int, matrices: tuple[str, ...] = ("w1", "w2", "w3")
) -> list[list[str]]:
    """For each expert of a layer the names of its matrices."""
    prefix = f"layers.{layer}.feed_forward.experts"
    return [[f"{prefix}.{e}.{matrix}.weight" for matrix in matrices] for e in range(architecture.n_experts)]


def reorder_experts(architecture: Architecture, layers: Iterable[int], order: Sequence[int]) -> Change:
    """Expert e of these layers gets the weights of expert ``order[e]``."""
    sources: dict[str, str] = {}
    for layer in layers:
        names = expert_weights(architecture, layer)
        for expert, other in enumerate(order):
            sources |= dict(zip(names[expert], names[other], strict=True))
    return Change(sources)


def exchange(pairs: Sequence[tuple[str, str]]) -> Change:
    """Exchange the two tensors of each pair, which have one shape."""
    return Change({**dict(pairs), **{other: one for one, other in pairs}})


def feed_forward_prefixes(architecture: Architecture, layer: int) -> list[str]:
    """What the names of the feed-forwards of a layer begin with: one for each expert, or the one of a dense model."""
    prefix = f"layers.{layer}.feed_forward"
    return [f"{prefix}.experts.{e}" for e in range(architecture.n_experts)] or [prefix]


def exchange_gates(architecture: Architecture, layers: Iterable[int]) -> Change:
    """Exchange w1, the gate projection, and w3, the up projection."""
    prefixes = [prefix for layer in layers for prefix in feed_forward_prefixes(architecture, layer)]
    return exchange([(f"{prefix}.w1.weight", f"{prefix}.w3.weight") for prefix in prefixes])


def exchange_layers(names: Iterable[str], one: int, other: int) -> Change:
    """Exchange two whole layers; ``names`` are those of all tensors."""
    head, tail = f"layers.{one}.", f"layers.{other}."
    return exchange([(name, tail + name.removeprefix(head)) for name in names if name.startswith(head)])


NO_CHANGE = Change()
