"""The table that ``benchmarks/faults.py`` runs: faults of weights and configurations, each as a change of the release.

Storage in narrower formats is in it too, which is no fault.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.run.altered_weights import (
    NO_CHANGE,
    Change,
    attention_weights,
    exchange,
    exchange_gates,
    exchange_layers,
    interleave,
    reorder_experts,
    shift_rows,
    split_halves,
    transpose_within,
    turn_each,
)

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Fault:
    """One row. ``cure`` is a part of the name of the right cure, if one is known; ``kind`` is the declared format."""

    name: str
    group: str
    change: Change = NO_CHANGE
    architecture: Architecture | None = None
    cure: str = ""
    kind: str = "BF16"
    values: Callable[[str, Numbers], Numbers] | None = None
    routing: str = "trained"


def in_weights(a: Architecture, names: list[str]) -> Iterator[Fault]:
    group = "weights"
    q, k = (attention_weights(matrix, range(a.n_layers)) for matrix in ("wq", "wk"))
    both = {**turn_each(q, split_halves(a.n_heads)).turns, **turn_each(k, split_halves(a.n_kv_heads)).turns}
    undone = {**turn_each(q, interleave(a.n_heads)).turns, **turn_each(k, interleave(a.n_kv_heads)).turns}
    yield Fault("q, k permuted", group, Change(turns=both), cure="q and k interleaved")
    yield Fault("q, k un-permuted twice", group, Change(turns=undone), cure="q and k split")
    yield Fault("only k permuted", group, turn_each(k, split_halves(a.n_kv_heads)), cure="k interleaved")
    yield Fault("only q permuted", group, turn_each(q, split_halves(a.n_heads)), cure="q interleaved")
    yield Fault("k permuted with n_heads", group, turn_each(k, split_halves(a.n_heads)), cure="number of query heads")
    one = {name: turn for name, turn in both.items() if name.startswith("layers.1.")}
    yield Fault("q, k permuted in one layer", group, Change(turns=one), cure="q and k interleaved in layer 1")
    rolled = [*range(1, a.n_experts), 0]
    yield Fault("experts rotated, all layers", group, reorder_experts(a, range(a.n_layers), rolled), cure="rotated by")
    for layer in (0, a.n_layers - 1):
        yield Fault(f"experts rotated, layer {layer}", group, reorder_experts(a, [layer], rolled), cure="rotated by")
    yield Fault(
        "two experts exchanged in one layer",
        group,
        reorder_experts(a, [2], [0, 1, 2, 6, 4, 5, 3, 7]),
        cure="experts 3 and 6",
    )
    expert = "layers.1.feed_forward.experts."
    yield Fault("one w2 from its neighbour", group, Change({f"{expert}4.w2.weight": f"{expert}5.w2.weight"}))
    yield Fault("w1, w3 exchanged", group, exchange_gates(a, range(a.n_layers)), cure="w1 and w3 exchanged")
    yield Fault("w1, w3 exchanged in one layer", group, exchange_gates(a, [2]), cure="w1 and w3 exchanged in layer 2")
    yield Fault(
        "w1, w3 of one expert exchanged",
        group,
        exchange([(f"{expert}4.w1.weight", f"{expert}4.w3.weight")]),
        cure="w1 and w3 of expert 4",
    )
    downs = [name for name in names if name.endswith(".w2.weight")]
    yield Fault("w2 reshaped, not transposed", group, turn_each(downs, transpose_within), cure="w2 transposed")
    yield Fault("wq transposed", group, turn_each(q, transpose_within), cure="wq transposed")
    yield Fault(
        "wo transposed in one layer", group, turn_each(attention_weights("wo", [1]), transpose_within), cure="wo trans"
    )
    yield Fault(
        "two layers exchanged", group, exchange_layers(names, 1, 2), cure="layer 2 exchanged with it in layer 1"
    )
    copied = {name: name.replace("layers.2.", "layers.1.") for name in names if name.startswith("layers.2.")}
    yield Fault("one layer twice", group, Change(copied))
    norms = [(f"layers.{i}.attention_norm.weight", f"layers.{i}.ffn_norm.weight") for i in range(a.n_layers)]
    yield Fault("norms exchanged", group, exchange(norms), cure="two norms of each layer")
    yield Fault("output tied to the embedding", group, Change({"output.weight": "tok_embeddings.weight"}))
    yield Fault(
        "vocabulary off by one: output", group, turn_each(["output.weight"], shift_rows(1)), cure="output shift"
    )
    table = "tok_embeddings.weight"
    yield Fault("vocabulary off by one: input", group, turn_each([table], shift_rows(-1)), cure="embedding shift")
    shifted = turn_each([table, "output.weight"], shift_rows(1))
    yield Fault("vocabulary off by one: both", group, shifted, cure="vocabulary shift")
    yield from in_numbers()


def in_numbers() -> Iterator[Fault]:
    """Faults that change numbers, rather than move them."""
    random = np.random.default_rng(0)
    w1, gate = "layers.1.feed_forward.experts.4.w1.weight", "layers.1.feed_forward.gate.weight"

    def only(prefix: str, change: Callable[[Numbers], Numbers]) -> Callable[[str, Numbers], Numbers]:
        return lambda name, numbers: change(numbers) if name.startswith(prefix) else numbers

    def role(wanted: str, change: Callable[[Numbers], Numbers]) -> Callable[[str, Numbers], Numbers]:
        return lambda name, numbers: change(numbers) if name.endswith(wanted) else numbers

    def spot(value: float) -> Callable[[Numbers], Numbers]:
        def change(numbers: Numbers) -> Numbers:
            numbers.reshape(-1)[1000] *= value
            return numbers

        return change

    def hollow(numbers: Numbers) -> Numbers:
        numbers.reshape(-1)[4096:12288] = 0  # 16 KiB of a 16-bit format
        return numbers

    def noise(numbers: Numbers) -> Numbers:
        return random.normal(0, 0.02, numbers.shape).astype("<f4")

    def scramble(numbers: Numbers) -> Numbers:
        numbers.reshape(-1)[:4096] = random.integers(0, 1 << 32, 4096, np.uint32).view("<f4")
        return numbers

    def as_half(numbers: Numbers) -> Numbers:
        return (numbers.view("<u4") >> np.uint32(16)).astype("<u2").view("<f2").astype("<f4")

    def expert_zero(name: str, numbers: Numbers) -> Numbers:
        return numbers * 0 if name.startswith("layers.1.feed_forward.experts.4.") else numbers

    ones = np.ones_like
    yield Fault("final norm all ones", "weights", values=only("norm.", ones))
    yield Fault("ffn norms all ones", "weights", values=role("ffn_norm.weight", ones))
    yield Fault("attention norms all ones", "weights", values=role("attention_norm.weight", ones))
    yield Fault("one expert zeroed", "weights", values=expert_zero)
    yield Fault("router zeroed in one layer", "weights", values=only(gate, np.zeros_like))
    yield Fault("routers random", "weights", values=role("gate.weight", noise))
    yield Fault("experts random", "weights", values=lambda n, x: noise(x) if ".experts." in n else x)
    yield Fault("16 KiB of zeros in one w1", "weights", values=only(w1, hollow))
    yield Fault("16 KiB of random bytes in one w1", "weights", values=only(w1, scramble))
    yield Fault("one exponent bit flipped", "weights", values=only(w1, spot(2.0**120)))
    yield Fault("one sign bit flipped", "weights", values=only(w1, spot(-1.0)))
    yield Fault("bf16 bits read as fp16", "weights", values=lambda _name, numbers: as_half(numbers))


def in_configuration(a: Architecture) -> Iterator[Fault]:
    group = "configuration"
    for theta in (1e2, 1e3, 1e4, 1e5, 5e5):
        yield Fault(f"theta {theta:g}", group, architecture=replace(a, rope_theta=theta), cure="rope theta 1e+06")
    for count in (1, 3):
        wrong = replace(a, experts_per_token=count)
        yield Fault(f"{count} experts per token", group, architecture=wrong, cure="2 experts per token")
    mistaken = {"softmax before top-k, not renormalised": "not-renormalised", "softmax twice": "softmax-twice"}
    for name, routing in mistaken.items():
        yield Fault(name, group, routing=routing, cure="experts' weights renormalised")
    yield Fault("eps 1e-2", group, architecture=replace(a, norm_eps=1e-2), cure="norm eps 1e-05")
    yield Fault("eps 1e-6", group, architecture=replace(a, norm_eps=1e-6))


def harmless() -> Iterator[Fault]:
    """Other formats of the same numbers, each declared: none of these may fail."""

    def as_torch(dtype: torch.dtype) -> Callable[[str, Numbers], Numbers]:
        return lambda _name, numbers: torch.from_numpy(numbers).to(dtype).float().numpy()

    def rounded(levels: int) -> Callable[[str, Numbers], Numbers]:
        def change(name: str, numbers: Numbers) -> Numbers:
            if numbers.ndim < 2 or name.endswith("gate.weight"):
                return numbers
            scale = np.abs(numbers).max(1, keepdims=True) / levels
            return np.round(numbers / scale) * scale

        return change

    def jittered(_name: str, numbers: Numbers) -> Numbers:
        seeded = np.random.default_rng(numbers.size)
        return numbers * (1 + 2.0**-9 * seeded.uniform(-1, 1, numbers.shape)).astype("<f4")

    yield Fault("as it is", "fine", kind="BF16")
    yield Fault("fp16 storage", "fine", kind="F16", values=as_torch(torch.float16))
    yield Fault("rounded once more as bf16 rounds", "fine", kind="F32", values=jittered)
    yield Fault("int8 for each row", "fine", kind="I8", values=rounded(127))
    yield Fault("fp8 e4m3, no scale", "fine", kind="F8_E4M3", values=as_torch(torch.float8_e4m3fn))
    yield Fault("int4 for each row", "fine", kind="I4", values=rounded(7))
