"""Find layers whose experts are all there, in another order. Pure."""

from collections.abc import Mapping
from itertools import groupby

from magnetar.convert.compare.comparison_report import ExpertOrder
from magnetar.convert.layout.tensor_layout import EXPERT_ROLES, Part


def find_expert_orders(
    first: Mapping[Part, str], second: Mapping[Part, str], routers: Mapping[int, tuple[int, ...]]
) -> tuple[ExpertOrder, ...]:
    """Compare the digests of experts, layer by layer. An expert is its w1, w2 and w3 together.

    ``routers`` has the order of the rows of a layer's router, where it is another than before.
    """
    found = []
    for layer, parts in groupby(sorted({part for part in first if part.expert >= 0}, key=_by_layer), key=_by_layer):
        experts = range(1 + max(part.expert for part in parts))
        old, new = (_list_experts(side, layer, len(experts)) for side in (first, second))
        order = tuple(old.index(expert) if expert in old and all(expert) else -1 for expert in new)
        if order != tuple(experts) and sorted(order) == list(experts):
            found.append(ExpertOrder(layer, order, routers.get(layer) == order))
    return tuple(found)


def _by_layer(part: Part) -> int:
    return part.layer


def _list_experts(digests: Mapping[Part, str], layer: int, count: int) -> list[tuple[str, ...]]:
    return [tuple(digests.get(Part(role, layer, expert), "") for role in EXPERT_ROLES) for expert in range(count)]
