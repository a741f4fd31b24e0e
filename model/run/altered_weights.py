"""Weights seen through a change: tensors under other names, or turned, with nothing written. numpy, no torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.model.run.weights import Weights

Words = np.ndarray[Any, np.dtype[Any]]
"""A tensor's numbers as unsigned words of their width, in its shape: to be moved, not reckoned with."""

Turn = Callable[[Words], Words]


@dataclass(frozen=True, slots=True)
class Change:
    """``sources``: which tensor is read for another's name. ``turns``: what is done to the words of a tensor."""

    sources: Mapping[str, str] = field(default_factory=dict)
    turns: Mapping[str, Turn] = field(default_factory=dict)


class Altered:
    """Weights after a change. The shapes stay as they were."""

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


class Held:
    """Weights that are kept in memory as they are stored, so that they can be run many times."""

    def __init__(self, weights: Weights) -> None:
        self.specs = weights.specs
        self._contents = {name: bytes(weights.read(name)) for name in weights.specs}

    def read(self, name: str) -> bytearray:
        """One tensor's bytes, writable."""
        return bytearray(self._contents[name])


def as_words(spec: TensorSpec, content: bytearray) -> Words:
    """A tensor's bytes in its shape, writable; one word is one number."""
    width = spec.nbytes // math.prod(spec.shape)
    return np.frombuffer(content, f"<u{width}").reshape(spec.shape)


def split_halves(heads: int) -> Turn:
    """Interleaved rotary rows of each of ``heads`` to half-split ones, as transformers has them."""
    return lambda words: words.reshape(heads, -1, 2, words.shape[1]).swapaxes(1, 2).reshape(words.shape)


def interleave(heads: int) -> Turn:
    """Half-split rows of each of ``heads`` back to interleaved ones."""
    return lambda words: words.reshape(heads, 2, -1, words.shape[1]).swapaxes(1, 2).reshape(words.shape)


def transpose_within(words: Words) -> Words:
    """Transposed, then read as if it had the shape from before."""
    return np.ascontiguousarray(words.T).reshape(words.shape)


def transpose_back(words: Words) -> Words:
    """What undoes ``transpose_within``."""
    return np.ascontiguousarray(words.reshape(words.shape[::-1]).T)


def shift_rows(by: int) -> Turn:
    """Every row ``by`` places further down, the last ones at the top."""
    return lambda words: np.roll(words, by, axis=0)


def every(architecture: Architecture, matrix: str) -> list[str]:
    """The names of one of attention's matrices in all layers."""
    return [f"layers.{layer}.attention.{matrix}.weight" for layer in range(architecture.n_layers)]


def turn_each(names: list[str], turn: Turn) -> Change:
    """The same turn for several tensors."""
    return Change(turns=dict.fromkeys(names, turn))


def experts(architecture: Architecture, layer: int, matrices: tuple[str, ...] = ("w1", "w2", "w3")) -> list[list[str]]:
    """For each expert of a layer the names of its matrices."""
    prefix = f"layers.{layer}.feed_forward.experts"
    return [[f"{prefix}.{e}.{matrix}.weight" for matrix in matrices] for e in range(architecture.n_experts)]


def reorder_experts(architecture: Architecture, layers: range | list[int], order: list[int]) -> Change:
    """Expert e of those layers becomes what expert ``order[e]`` was."""
    sources: dict[str, str] = {}
    for layer in layers:
        names = experts(architecture, layer)
        for expert, other in enumerate(order):
            sources |= dict(zip(names[expert], names[other], strict=True))
    return Change(sources)


def exchange(pairs: list[tuple[str, str]]) -> Change:
    """Two tensors of one shape under each other's names, for each pair."""
    return Change({**dict(pairs), **{other: one for one, other in pairs}})


def feed_forwards(architecture: Architecture, layer: int) -> list[str]:
    """The prefixes of the feed-forwards of a layer: its experts', or the one of a dense model."""
    prefix = f"layers.{layer}.feed_forward"
    return [f"{prefix}.experts.{e}" for e in range(architecture.n_experts)] or [prefix]


def exchange_gates(architecture: Architecture, layers: range | list[int]) -> Change:
    """w1 and w3 under each other's names."""
    prefixes = [prefix for layer in layers for prefix in feed_forwards(architecture, layer)]
    return exchange([(f"{prefix}.w1.weight", f"{prefix}.w3.weight") for prefix in prefixes])


def exchange_layers(names: list[str], one: int, other: int) -> Change:
    """Two whole layers in each other's place; ``names`` are those of the model."""
    head, tail = f"layers.{one}.", f"layers.{other}."
    return exchange([(name, tail + name.removeprefix(head)) for name in names if name.startswith(head)])


NO_CHANGE = Change()
