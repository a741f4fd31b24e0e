"""How a family of tools names, stacks and arranges the matrices of a model.

All layouts are described against one list of *parts*: the matrices and vectors of the model itself, one for each role,
layer and expert, arranged as in the publisher's code (rotary pairs interleaved, linear weights as out by in). A layout
says in which tensor each part lies, at which place of a stack, and how it is arranged there. This is all that a
conversion between two layouts needs, and it can be read in both directions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from magnetar.convert.layout.architecture import Architecture


class Arrangement(Enum):
    """How the numbers of a part lie in a layout, compared with the publisher's code."""

    PLAIN = "plain"
    HALF_SPLIT = "half-split"
    """In each head, first the first rows of all rotary pairs, then the second rows of all pairs (rotate_half)."""
    TRANSPOSED = "transposed"


class Part(NamedTuple):
    """One matrix or vector of the model. ``layer`` and ``expert`` are -1 for a part that belongs to none."""

    role: str
    layer: int = -1
    expert: int = -1


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a layout keeps a role. ``name`` may hold ``{layer}`` and ``{expert}``.

    If the role is an expert's and ``name`` has no ``{expert}``, all experts of a layer are stacked in one tensor,
    along the first axis. If several roles share a name, each expert has one matrix of each role there, in the order of
    ``slot``. A ``flat`` stack is stored as one tall matrix, with two dimensions in place of three.
    """

    role: str
    name: str
    arrangement: Arrangement = Arrangement.PLAIN
    slot: int = 0
    flat: bool = False


class Place(NamedTuple):
    """Where a part lies: a tensor is made of equal parts, and this is part ``number`` of them, from 0."""

    tensor: str
    number: int
    arrangement: Arrangement


@dataclass(frozen=True, slots=True)
class LaidTensor:
    """A tensor of a layout: its shape, and the parts in it, first to last."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    arrangement: Arrangement


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """A table of rules. ``title`` describes it to users.

    ``sign`` is a regular expression that tells the layout from others: it matches at least one of its names, and no
    name of another layout.
    """

    name: str
    title: str
    sign: str
    rules: tuple[Rule, ...]

    def tensors(self, architecture: Architecture) -> dict[str, LaidTensor]:
        """Every tensor of a model in this layout, by name, in the order of the layers."""
        return {tensor.name: tensor for tensor in self._lay(architecture)}

    def places(self, architecture: Architecture) -> dict[Part, Place]:
        """Where each part of a model lies in this layout."""
        return {
            part: Place(tensor.name, number, tensor.arrangement)
            for tensor in self._lay(architecture)
            for number, part in enumerate(tensor.parts)
        }

    def _lay(self, architecture: Architecture) -> Iterator[LaidTensor]:
        wanted = DENSE_ROLES if not architecture.n_experts else MOE_ROLES
        rules = [rule for rule in self.rules if rule.role in wanted]
        for rule in (rule for rule in rules if rule.role == "embedding"):
            yield self._lay_part(rule, Part(rule.role), architecture)
        for layer in range(architecture.n_layers):
            yield from self._lay_layer(rules, layer, architecture)
        for rule in (rule for rule in rules if rule.role in ("norm", "output")):
            yield self._lay_part(rule, Part(rule.role), architecture)

    def _lay_layer(self, rules: Sequence[Rule], layer: int, architecture: Architecture) -> Iterator[LaidTensor]:
        for rule in rules:
            if rule.role in EXPERT_ROLES and "{expert}" not in rule.name:
                if rule.slot == 0:
                    yield self._lay_stack([other for other in rules if other.name == rule.name], layer, architecture)
            elif rule.role in EXPERT_ROLES:
                for expert in range(architecture.n_experts):
                    yield self._lay_part(rule, Part(rule.role, layer, expert), architecture)
            elif rule.role in LAYER_ROLES:
                yield self._lay_part(rule, Part(rule.role, layer), architecture)

    def _lay_part(self, rule: Rule, part: Part, architecture: Architecture) -> LaidTensor:
        name = rule.name.format(layer=part.layer, expert=part.expert)
        shape = arranged_shape(part_shape(part.role, architecture), rule.arrangement)
        return LaidTensor(name, shape, (part,), rule.arrangement)

    def _lay_stack(self, rules: Sequence[Rule], layer: int, architecture: Architecture) -> LaidTensor:
        """One tensor with the matrices of all experts of a layer. The rules share one name."""
        first = rules[0]
        roles = [rule.role for rule in sorted(rules, key=lambda rule: rule.slot)]
        experts = range(architecture.n_experts)
        rows, columns = arranged_shape(part_shape(first.role, architecture), first.arrangement)
        tall = len(roles) * rows
        shape = (len(experts) * tall, columns) if first.flat else (len(experts), tall, columns)
        parts = tuple(Part(role, layer, expert) for expert in experts for role in roles)
        return LaidTensor(first.name.format(layer=layer), shape, parts, first.arrangement)


LAYER_ROLES = ("q", "k", "v", "o", "attention_norm", "ffn_norm", "router", "dense_w1", "dense_w2", "dense_w3")
EXPERT_ROLES = ("w1", "w2", "w3")
COMMON_ROLES = frozenset({"embedding", "norm", "output", "q", "k", "v", "o", "attention_norm", "ffn_norm"})
DENSE_ROLES = COMMON_ROLES | {"dense_w1", "dense_w2", "dense_w3"}
MOE_ROLES = COMMON_ROLES | {"router", *EXPERT_ROLES}


def part_shape(role: str, architecture: Architecture) -> tuple[int, ...]:
    """The shape of a part in the publisher's arrangement: (out, in) for matrices."""
    dim, hidden = architecture.dim, architecture.hidden_dim
    queries, keys = (heads * architecture.head_dim for heads in (architecture.n_heads, architecture.n_kv_heads))
    shapes: Mapping[str, tuple[int, ...]] = {
        "embedding": (architecture.vocab_size, dim),
        "output": (architecture.vocab_size, dim),
        "norm": (dim,),
        "attention_norm": (dim,),
        "ffn_norm": (dim,),
        "q": (queries, dim),
        "k": (keys, dim),
        "v": (keys, dim),
        "o": (dim, queries),
        "router": (architecture.n_experts, dim),
        **{f"{kind}{name}": (hidden, dim) for kind in ("", "dense_") for name in ("w1", "w3")},
        **{f"{kind}w2": (dim, hidden) for kind in ("", "dense_")},
    }
    return shapes[role]


def arranged_shape(shape: tuple[int, ...], arrangement: Arrangement) -> tuple[int, ...]:
    """The shape in which a part of that shape is stored."""
    return shape[::-1] if arrangement is Arrangement.TRANSPOSED else shape
