"""What commonly goes wrong when weights are converted or configured, each with the change that would undo it.

No torch here. The faults are those that are met in the field: rotary rows permuted or not, once too often, or with the
number of the query heads for the keys; gate and up projection exchanged; experts in another order than the router's;
matrices transposed where no shape tells; a base of the rotation that was assumed; a vocabulary off by one.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.write.journal import read_conversion
from magnetar.model.run.altered_weights import (
    NO_CHANGE,
    Change,
    Turn,
    every,
    exchange,
    exchange_gates,
    exchange_layers,
    experts,
    feed_forwards,
    interleave,
    reorder_experts,
    shift_rows,
    split_halves,
    transpose_back,
    turn_each,
)

THETAS = (1e6, 1e4, 5e5, 1e5, 1e3, 1e2)
TOP_KS = (2, 1, 3, 4)
MOST_PAIRS = 64
"""Pairs of experts, or of layers, that are tried in one place."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change to try. ``advice`` says what to do if it is the one."""

    name: str
    advice: str
    architecture: Architecture
    change: Change = NO_CHANGE
    routing: str = "trained"


def list_remedies(
    a: Architecture, names: list[str], layout: str, suspect: int | None, again: str = "", routing: str = "trained"
) -> Iterator[Remedy]:
    """Every known cure for a model, the commonest first; those of one layer for ``suspect`` only, if there is one.

    ``again`` is what to do about weights that were converted badly, ``routing`` how the model is run as it is.
    """
    again = again or advise(layout)
    for remedy in _configure(a, layout):
        yield replace(remedy, routing=routing)
    yield from _route(a, routing)
    for name, change in _rearrange(a, names):
        yield Remedy(name, again, a, change, routing)
    if suspect is not None:
        for name, change in _rearrange_layer(a, names, suspect):
            yield Remedy(f"{name} in layer {suspect}", again, a, change, routing)


def advise_remaking(source: CheckpointSource) -> str:
    """The command that makes the weights of ``source`` anew: from their release, if it was noted which it is."""
    noted = read_conversion(source.path) if source.path else None
    return advise(source.layout, source.folder.name, noted.release if noted else "")


def advise(layout: str, name: str = "", release: str = "") -> str:
    """The same for weights in ``layout``, in a folder ``name``, of a ``release``; either may be unknown."""
    targets = {"mistral-fused": "mistral", "hf-fused": "hf"}
    target, folder = targets.get(layout, layout), shlex.quote(f"{name}-again") if name else "DST"
    if release:
        return f"convert it again from the release: magnetar get {shlex.quote(release)} --to {target}"
    return f"convert it again from the release: magnetar convert RELEASE {folder} --to {target}"


def _route(a: Architecture, routing: str) -> Iterator[Remedy]:
    """Other weights for the experts that were chosen."""
    if a.n_experts and routing == "trained":
        for other, word in (("not-renormalised", "not renormalised"), ("softmax-twice", "through a second softmax")):
            advice = f"run it where the weights of the chosen experts go {word}; config.json has norm_topk_prob for it"
            yield Remedy(f"experts' weights {word}", advice, a, routing=other)
    elif a.n_experts:
        advice = "let the runtime renormalise the weights of the chosen experts (norm_topk_prob), by one softmax"
        yield Remedy("experts' weights renormalised", advice, a)


def _configure(a: Architecture, layout: str) -> Iterator[Remedy]:
    """Changes of the configuration file alone."""
    published = layout.startswith("mistral")
    file = "params.json" if published else "the GGUF's metadata" if layout == "gguf" else "config.json"
    for theta in THETAS:
        if theta != a.rope_theta:
            key = "llama.rope.freq_base" if layout == "gguf" else "rope_theta"
            yield Remedy(f"rope theta {theta:g}", f"set {key} to {theta:g} in {file}", replace(a, rope_theta=theta))
    for count in TOP_KS:
        if a.n_experts >= count != a.experts_per_token:
            names = {"params.json": "moe.num_experts_per_tok", "config.json": "num_experts_per_tok"}
            name = names.get(file, "llama.expert_used_count")
            changed = replace(a, experts_per_token=count)
            yield Remedy(f"{count} experts per token", f"set {name} to {count} in {file}", changed)
    for eps in (1e-5, 1e-6):
        if a.norm_eps > 10 * eps:
            yield Remedy(f"norm eps {eps:g}", f"set norm_eps to {eps:g} in {file}", replace(a, norm_eps=eps))


def _rearrange(a: Architecture, names: list[str]) -> Iterator[tuple[str, Change]]:
    """Changes to the same matrices of all layers."""
    q, k = every(a, "wq"), every(a, "wk")
    for what, turn in (("interleaved", interleave), ("split in halves", split_halves)):
        keys = turn_each(k, turn(a.n_kv_heads))
        yield f"rotary rows of q and k {what}", Change(turns={**turn_each(q, turn(a.n_heads)).turns, **keys.turns})
        yield f"rotary rows of k {what}", keys
        yield f"rotary rows of q {what}", turn_each(q, turn(a.n_heads))
    if a.n_heads != a.n_kv_heads and a.head_dim * a.n_kv_heads % (2 * a.n_heads) == 0:
        yield "rotary rows of k interleaved with the number of query heads", turn_each(k, interleave(a.n_heads))
        yield "rotary rows of k split with the number of query heads", turn_each(k, split_halves(a.n_heads))
    layers = range(a.n_layers)
    yield "w1 and w3 exchanged", exchange_gates(a, layers)
    for by in range(1, a.n_experts):
        order = [(e + by) % a.n_experts for e in range(a.n_experts)]
        yield f"experts rotated by {by}", reorder_experts(a, layers, order)
    if a.n_experts > 2:
        yield "experts reversed", reorder_experts(a, layers, list(reversed(range(a.n_experts))))
    if a.n_experts > 10:
        yield "experts sorted as numbers", reorder_experts(a, layers, _undo_text_sort(a.n_experts))
    downs = [f"{prefix}.w2.weight" for layer in layers for prefix in feed_forwards(a, layer)]
    yield "w2 transposed", turn_each(downs, transpose_back)
    for matrix in ("wq", "wo") if a.dim == a.n_heads * a.head_dim else ():
        yield f"{matrix} transposed", turn_each(every(a, matrix), transpose_back)
    yield from _shift_vocabulary()
    norms = [(f"layers.{i}.attention_norm.weight", f"layers.{i}.ffn_norm.weight") for i in layers]
    yield "the two norms of each layer exchanged", exchange(norms)
    yield "embedding and output exchanged", exchange([("tok_embeddings.weight", "output.weight")])
    mirrored = {
        name: f"layers.{a.n_layers - 1 - int(parts[1])}.{parts[2]}"
        for name in names
        if (parts := name.split(".", 2))[0] == "layers"
    }
    yield "layers in reverse order", Change(mirrored)


def _shift_vocabulary() -> Iterator[tuple[str, Change]]:
    for by in (1, -1):
        word = "up" if by < 0 else "down"
        yield f"output shifted one piece {word}", turn_each(["output.weight"], shift_rows(by))
        yield f"embedding shifted one piece {word}", turn_each(["tok_embeddings.weight"], shift_rows(by))
        both = ["output.weight", "tok_embeddings.weight"]
        yield f"vocabulary shifted one piece {word}", turn_each(both, shift_rows(by))


def _rearrange_layer(a: Architecture, names: list[str], layer: int) -> Iterator[tuple[str, Change]]:
    """Changes within one layer, or between it and another."""
    prefix = f"layers.{layer}.attention"
    if a.n_experts:
        yield "w1 and w3 exchanged", exchange_gates(a, [layer])
        for by in range(1, a.n_experts):
            order = [(e + by) % a.n_experts for e in range(a.n_experts)]
            yield f"experts rotated by {by}", reorder_experts(a, [layer], order)
        for one, other in list(combinations(range(a.n_experts), 2))[:MOST_PAIRS]:
            order = list(range(a.n_experts))
            order[one], order[other] = other, one
            yield f"experts {one} and {other} exchanged", reorder_experts(a, [layer], order)
        for e, (w1, w3) in enumerate(experts(a, layer, ("w1", "w3"))):
            yield f"w1 and w3 of expert {e} exchanged", exchange([(w1, w3)])
    for what, turn in (("interleaved", interleave), ("split in halves", split_halves)):
        turns: dict[str, Turn] = {f"{prefix}.wq.weight": turn(a.n_heads), f"{prefix}.wk.weight": turn(a.n_kv_heads)}
        yield f"rotary rows of q and k {what}", Change(turns=turns)
    for matrix in ("wq", "wo") if a.dim == a.n_heads * a.head_dim else ():
        yield f"{matrix} transposed", turn_each([f"{prefix}.{matrix}.weight"], transpose_back)
    downs = [f"{name}.w2.weight" for name in feed_forwards(a, layer)]
    yield "w2 transposed", turn_each(downs, transpose_back)
    norm = f"layers.{layer}."
    yield "the two norms exchanged", exchange([(f"{norm}attention_norm.weight", f"{norm}ffn_norm.weight")])
    others = [other for other in range(a.n_layers) if other > layer][:MOST_PAIRS]
    for other in others:
        yield f"layer {other} exchanged with it", exchange_layers(names, layer, other)


def _undo_text_sort(count: int) -> list[int]:
    """Where each expert went when their numbers were sorted as text: 0, 1, 10, 11, 2, …"""
    return [sorted(range(count), key=str).index(expert) for expert in range(count)]


@dataclass(frozen=True, slots=True)
class Cure:
    """A change after which the model scores as it should: what was wrong, and what to do about it.

    ``bits_per_byte`` is the score with it on the part of the text that cures are tried on, ``before`` without; None if
    that was no number.
    """

    name: str
    advice: str
    bits_per_byte: float
    before: float | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cures that were tried on a model that is not healthy. ``cure`` is the one that helps, None if none does.

    ``nearest`` is then the one that brings the score furthest down, None if none brings it far.
    """

    cure: Cure | None
    tried: tuple[str, ...]
    nearest: Cure | None = None
