"""The known mistakes of conversion and configuration, each with the change that undoes it, and what to do about it.

They are those that are met in the field: a base of the rotary embedding that was assumed; another number of experts for
a token; rotary rows permuted or not, once too often, or with the number of the query heads for the keys; gate and up
projection exchanged; experts in another order than the router's; matrices transposed where no shape shows it; a
vocabulary that is off by one. No torch here.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.checks.rearrangements import rearrange_layer, rearrange_model
from magnetar.model.run.altered_weights import NO_CHANGE, Change

THETAS = (1e6, 1e4, 5e5, 1e5, 1e3, 1e2)
TOP_KS = (2, 1, 3, 4)


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change to try, of the configuration, the weights or the routing.

    ``advice`` says what to do if it is the one that helps.
    """

    name: str
    advice: str
    architecture: Architecture
    change: Change = NO_CHANGE
    routing: str = "trained"


@dataclass(frozen=True, slots=True)
class Cure:
    """A change after which a model works: what was wrong, and what to do about it."""

    name: str
    advice: str
    bits_per_byte: float
    """The score with the cure, on the part of the text that cures are tried on."""
    before: float | None
    """The score without it; None if a number was not finite."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came of trying the known cures on a model that is not healthy."""

    cure: Cure | None
    """The cure that restores it; None if none does."""
    tried: tuple[str, ...]
    nearest: Cure | None = None
    """If none restores it, the cure that helps most; None if none helps much."""


def list_remedies(
    a: Architecture,
    names: Sequence[str],
    layout: str,
    suspect: int | None,
    advice: str = "",
    routing: str = "trained",
) -> list[Remedy]:
    """Every known cure for a model with the tensors ``names``, the commonest first.

    Those of a single layer are listed for the layer ``suspect`` only, if there is one. ``advice`` says what to do about
    weights that were converted badly. ``routing`` is how the model is run now.
    """
    advice = advice or advise(layout)
    remedies = [replace(remedy, routing=routing) for remedy in _configure(a, layout)]
    remedies += _reroute(a, routing)
    remedies += [
        Remedy(name, advice, a, change, routing) for name, applies, change in rearrange_model(a, names) if applies
    ]
    if suspect is not None:
        remedies += [
            Remedy(f"{name} in layer {suspect}", advice, a, change, routing)
            for name, applies, change in rearrange_layer(a, names, suspect)
            if applies
        ]
    return remedies


def advise(layout: str, name: str = "", release: str = "") -> str:
    """The command that makes weights in ``layout`` anew. The folder's ``name`` and the ``release`` may be unknown."""
    targets = {"mistral-fused": "mistral", "hf-fused": "hf"}
    target, folder = targets.get(layout, layout), shlex.quote(f"{name}-again") if name else "DST"
    if release:
        return f"convert it again from the release: magnetar get {shlex.quote(release)} --to {target}"
    return f"convert it again from the release: magnetar convert RELEASE {folder} --to {target}"


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
            keys = {"params.json": "moe.num_experts_per_tok", "config.json": "num_experts_per_tok"}
            key = keys.get(file, "llama.expert_used_count")
            changed = replace(a, experts_per_token=count)
            yield Remedy(f"{count} experts per token", f"set {key} to {count} in {file}", changed)
    for eps in (1e-5, 1e-6):
        if a.norm_eps > 10 * eps:
            yield Remedy(f"norm eps {eps:g}", f"set norm_eps to {eps:g} in {file}", replace(a, norm_eps=eps))


def _reroute(a: Architecture, routing: str) -> Iterator[Remedy]:
    """Other weights for the answers of the experts that were chosen."""
    if a.n_experts and routing == "trained":
        for other, word in (("not-renormalised", "not renormalised"), ("softmax-twice", "through a second softmax")):
            advice = f"run it where the weights of the chosen experts go {word}; config.json has norm_topk_prob for it"
            yield Remedy(f"experts' weights {word}", advice, a, routing=other)
    elif a.n_experts:
        advice = "let the runtime renormalise the weights of the chosen experts (norm_topk_prob), by one softmax"
        yield Remedy("experts' weights renormalised", advice, a)
