"""Mistakes of conversion that move weights without changing them, as tables: the name of the cure, and its change.

A row of a table is ``(name, applies, change)``. ``applies`` says whether a model of this architecture can have the
mistake at all. The commonest mistakes come first. No torch here.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.run.altered_weights import (
    Change,
    Turn,
    attention_weights,
    exchange,
    exchange_gates,
    exchange_layers,
    expert_weights,
    feed_forward_prefixes,
    interleave,
    reorder_experts,
    shift_rows,
    split_halves,
    transpose_back,
    turn_each,
)

MAX_PAIRS = 64
"""Pairs of experts, or of layers, that are tried in one place."""

OUTPUT, EMBEDDING = "output.weight", "tok_embeddings.weight"

Row = tuple[str, bool, Change]


def rearrange_model(a: Architecture, names: Sequence[str]) -> list[Row]:
    """Changes to the same matrices of all layers; ``names`` are those of all tensors."""
    layers = range(a.n_layers)
    is_grouped = a.n_heads != a.n_kv_heads and a.head_dim * a.n_kv_heads % (2 * a.n_heads) == 0
    is_square = a.dim == a.n_heads * a.head_dim
    keys = attention_weights("wk", layers)
    return [
        ("rotary rows of q and k interleaved", True, _rotary(a, layers, interleave, "wq", "wk")),
        ("rotary rows of k interleaved", True, _rotary(a, layers, interleave, "wk")),
        ("rotary rows of q interleaved", True, _rotary(a, layers, interleave, "wq")),
        ("rotary rows of q and k split in halves", True, _rotary(a, layers, split_halves, "wq", "wk")),
        ("rotary rows of k split in halves", True, _rotary(a, layers, split_halves, "wk")),
        ("rotary rows of q split in halves", True, _rotary(a, layers, split_halves, "wq")),
        (
            "rotary rows of k interleaved with the number of query heads",
            is_grouped,
            turn_each(keys, interleave(a.n_heads)),
        ),
        (
            "rotary rows of k split with the number of query heads",
            is_grouped,
            turn_each(keys, split_halves(a.n_heads)),
        ),
        ("w1 and w3 exchanged", True, exchange_gates(a, layers)),
        *_rotate_experts(a, layers),
        ("experts reversed", a.n_experts > 2, reorder_experts(a, layers, list(reversed(range(a.n_experts))))),
        ("experts sorted as numbers", a.n_experts > 10, reorder_experts(a, layers, _undo_text_sort(a.n_experts))),
        ("w2 transposed", True, _transpose_w2(a, layers)),
        ("wq transposed", is_square, turn_each(attention_weights("wq", layers), transpose_back)),
        ("wo transposed", is_square, turn_each(attention_weights("wo", layers), transpose_back)),
        ("output shifted one piece down", True, turn_each([OUTPUT], shift_rows(1))),
        ("embedding shifted one piece down", True, turn_each([EMBEDDING], shift_rows(1))),
        ("vocabulary shifted one piece down", True, turn_each([OUTPUT, EMBEDDING], shift_rows(1))),
        ("output shifted one piece up", True, turn_each([OUTPUT], shift_rows(-1))),
        ("embedding shifted one piece up", True, turn_each([EMBEDDING], shift_rows(-1))),
        ("vocabulary shifted one piece up", True, turn_each([OUTPUT, EMBEDDING], shift_rows(-1))),
        ("the two norms of each layer exchanged", True, _exchange_norms(layers)),
        ("embedding and output exchanged", True, exchange([(EMBEDDING, OUTPUT)])),
        ("layers in reverse order", True, _reverse_layers(a, names)),
    ]


def rearrange_layer(a: Architecture, names: Sequence[str], layer: int) -> list[Row]:
    """Changes within one layer, or between it and a later one."""
    layers = range(layer, layer + 1)
    is_mixture = a.n_experts > 0
    is_square = a.dim == a.n_heads * a.head_dim
    return [
        ("w1 and w3 exchanged", is_mixture, exchange_gates(a, layers)),
        *_rotate_experts(a, layers),
        *_exchange_experts(a, layers),
        *(
            (f"w1 and w3 of expert {expert} exchanged", True, exchange([(w1, w3)]))
            for expert, (w1, w3) in enumerate(expert_weights(a, layer, ("w1", "w3")))
        ),
        ("rotary rows of q and k interleaved", True, _rotary(a, layers, interleave, "wq", "wk")),
        ("rotary rows of q and k split in halves", True, _rotary(a, layers, split_halves, "wq", "wk")),
        ("wq transposed", is_square, turn_each(attention_weights("wq", layers), transpose_back)),
        ("wo transposed", is_square, turn_each(attention_weights("wo", layers), transpose_back)),
        ("w2 transposed", True, _transpose_w2(a, layers)),
        ("the two norms exchanged", True, _exchange_norms(layers)),
        *(
            (f"layer {other} exchanged with it", True, exchange_layers(names, layer, other))
            for other in range(layer + 1, min(a.n_layers, layer + 1 + MAX_PAIRS))
        ),
    ]


def _rotary(a: Architecture, layers: range, turn: Callable[[int], Turn], *matrices: str) -> Change:
    """Turn the rotary rows of some of ``wq`` and ``wk``, each with its own number of heads."""
    heads = {"wq": a.n_heads, "wk": a.n_kv_heads}
    changes = [turn_each(attention_weights(matrix, layers), turn(heads[matrix])) for matrix in matrices]
    return Change(turns={name: turned for change in changes for name, turned in change.turns.items()})


def _rotate_experts(a: Architecture, layers: range) -> list[Row]:
    rotations = {by: [(e + by) % a.n_experts for e in range(a.n_experts)] for by in range(1, a.n_experts)}
    return [(f"experts rotated by {by}", True, reorder_experts(a, layers, order)) for by, order in rotations.items()]


def _exchange_experts(a: Architecture, layers: range) -> list[Row]:
    rows: list[Row] = []
    for one, other in list(combinations(range(a.n_experts), 2))[:MAX_PAIRS]:
        order = list(range(a.n_experts))
        order[one], order[other] = other, one
        rows.append((f"experts {one} and {other} exchanged", True, reorder_experts(a, layers, order)))
    return rows


def _undo_text_sort(count: int) -> list[int]:
    """Where each expert went when their numbers were sorted as text: 0, 1, 10, 11, 2, …"""
    return [sorted(range(count), key=str).index(expert) for expert in range(count)]


def _transpose_w2(a: Architecture, layers: range) -> Change:
    prefixes = [prefix for layer in layers for prefix in feed_forward_prefixes(a, layer)]
    return turn_each([f"{prefix}.w2.weight" for prefix in prefixes], transpose_back)


def _exchange_norms(layers: range) -> Change:
    return exchange([(f"layers.{layer}.attention_norm.weight", f"layers.{layer}.ffn_norm.weight") for layer in layers])


def _reverse_layers(a: Architecture, names: Sequence[str]) -> Change:
    split = {name: name.split(".", 2) for name in names if name.startswith("layers.")}
    return Change({name: f"layers.{a.n_layers - 1 - int(layer)}.{rest}" for name, (_, layer, rest) in split.items()})
