"""The sizes of a model as its own tensors tell them, without a configuration. Pure."""

import math
import re
from collections.abc import Iterable, Mapping

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tensor_layout import EXPERT_ROLES, Rule, TensorLayout
from magnetar.errors import LayoutError

Shape = tuple[int, ...]

MAX_BLOCKS = 1 << 13
"""Layers times experts. The largest release of the family has 504. A stacked tensor of a few bytes can claim any."""


def infer_architecture(layout: TensorLayout, shapes: Mapping[str, Shape], head_dim: int = 0) -> Architecture:
    """The sizes by which ``layout`` would have tensors of these ``shapes``, as far as shapes tell.

    The size of a head is not among them: ``head_dim``, or the largest that q and k allow. Numbers that do not
    rearrange tensors (theta, the experts per token) mean nothing. Raises ``LayoutError`` where a matrix is missing
    without which the sizes are not known, or sizes are impossible.
    """
    found = {rule.role: _first(rule, shapes) for rule in layout.rules}
    q, k = _matrix("q", found), _matrix("k", found)
    experts, hidden = _count_experts(layout, shapes, found)
    vocabulary = found.get("embedding") or found.get("output") or (1,)
    layers = _count(layout, shapes, "layer")
    if layers > len(shapes) or layers * (1 + experts) > MAX_BLOCKS:
        raise LayoutError("the tensors are those of more layers and experts than any model of the family has")
    head = head_dim or math.gcd(q[0], k[0])
    if not head or q[0] % head or k[0] % head:
        raise LayoutError(f"heads of {head} do not fit {q[0]} rows of q and {k[0]} of k")
    return Architecture(
        dim=q[1],
        n_layers=layers,
        head_dim=head,
        hidden_dim=hidden,
        n_heads=q[0] // head,
        n_kv_heads=k[0] // head,
        norm_eps=1e-5,
        vocab_size=vocabulary[0],
        rope_theta=1e4,
        n_experts=experts,
        experts_per_token=1 if experts else 0,
    )


def fits_names(layout: TensorLayout, names: Iterable[str]) -> bool:
    """Whether every name is one that a layout gives."""
    patterns = [_pattern(rule) for rule in layout.rules]
    return all(any(pattern.fullmatch(name) for pattern in patterns) for name in names)


def possible_head_dims(architecture: Architecture, likely: int = 0) -> tuple[int, ...]:
    """Every size that the heads could have, the likely ones first."""
    rows = math.gcd(architecture.n_heads * architecture.head_dim, architecture.n_kv_heads * architecture.head_dim)
    divisors = {size for low in range(1, math.isqrt(rows) + 1) if rows % low == 0 for size in (low, rows // low)}
    sizes = sorted((size for size in divisors if size % 2 == 0), reverse=True)
    return tuple(sorted(sizes, key=lambda size: (size != likely, size != 128, size != 64)))


def _count_experts(
    layout: TensorLayout, shapes: Mapping[str, Shape], found: Mapping[str, Shape | None]
) -> tuple[int, int]:
    """How many experts a layer has, 0 for a dense model, and the rows of w1 in each."""
    if not found.get("router"):
        return 0, _matrix("dense_w1", found)[0]
    rule = next(rule for rule in layout.rules if rule.role == "w1")
    w1 = found.get("w1")
    if not w1:
        raise LayoutError("there is no w1, so the size of an expert is not known")
    if "{expert}" in rule.name:
        return _count(layout, shapes, "expert"), _matrix("w1", found)[0]
    experts = _matrix("router", found)[0]
    slots = sum(other.name == rule.name for other in layout.rules if other.role in EXPERT_ROLES)
    rows = w1[0] // max(experts, 1) if rule.flat else w1[1] if len(w1) == 3 else 0
    return experts, rows // slots


def _matrix(role: str, found: Mapping[str, Shape | None]) -> tuple[int, int]:
    shape = found.get(role)
    if not shape or len(shape) != 2:
        raise LayoutError(f"there is no matrix {role}, so the sizes of the model are not known")
    return shape[0], shape[1]


def _first(rule: Rule, shapes: Mapping[str, Shape]) -> Shape | None:
    pattern = _pattern(rule)
    return next((shape for name, shape in shapes.items() if pattern.fullmatch(name)), None)


def _count(layout: TensorLayout, shapes: Mapping[str, Shape], what: str) -> int:
    """One more than the largest number of a layer, or of an expert."""
    patterns = [_pattern(rule) for rule in layout.rules if f"{{{what}}}" in rule.name]
    matches = (match for name in shapes for pattern in patterns if (match := pattern.fullmatch(name)))
    return 1 + max((int(match[what]) for match in matches), default=-1)


def _pattern(rule: Rule) -> re.Pattern[str]:
    name = re.escape(rule.name)
    for what in ("layer", "expert"):
        name = name.replace(re.escape(f"{{{what}}}"), f"(?P<{what}>[0-9]{{1,7}})")
    return re.compile(name)
