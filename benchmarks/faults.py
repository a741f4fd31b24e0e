"""Which level of ``magnetar boot`` catches which fault, and whether the diagnosis names the cure.

Every row is the bundled release after one change, run on the 512 tokens of its fingerprint and, for the score, on
the head of its smoke text. Rows in three groups: faults in the weights, faults of configuration or runtime, and what
must not fail: storage in narrower formats, declared as such.

    python benchmarks/faults.py [--json FILE]
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from magnetar.convert.architecture import Architecture
from magnetar.convert.checkpoint import TensorSpec
from magnetar.convert.source import open_source
from magnetar.convert.view import view_as
from magnetar.model.altered import (
    NO_CHANGE,
    Altered,
    Change,
    Held,
    every,
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
from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.content import Survey, check_content, survey
from magnetar.model.diagnosis import Patient, diagnose
from magnetar.model.examination import Examination, Task, examine
from magnetar.model.fingerprint import read_fingerprint
from magnetar.model.forward import Expectation, Measured, find_faults
from magnetar.model.golden import compare, find_strays, score_tolerance
from magnetar.model.levels import Verdict
from magnetar.model.routing import Strategy
from magnetar.model.tokenizer import Tokenizer
from magnetar.model.weights import Weights

TOKENS = 6144
NOISE = 8.5e-5
"""KL of the same weights computed in bfloat16: what is below this cannot be told from another kernel's rounding."""

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Fault:
    """One row. ``cure`` is a part of the right cure's name, empty where none is known. ``kind``: as it is declared."""

    name: str
    group: str
    change: Change = NO_CHANGE
    architecture: Architecture | None = None
    cure: str = ""
    kind: str = "BF16"
    values: Callable[[str, Numbers], Numbers] | None = None
    routing: str = "trained"


@dataclass(frozen=True)
class Row:
    name: str
    group: str
    bits_per_byte: float | None
    divergence: float | None
    agreement: float | None
    caught: tuple[str, ...]
    layer: int | None
    cure: str
    right: bool | None


class Recalculated:
    """Weights whose numbers were changed, as 32-bit floats."""

    def __init__(self, weights: Weights, change: Callable[[str, Numbers], Numbers]) -> None:
        self._contents, self.specs = {}, dict[str, TensorSpec]()
        for name, spec in weights.specs.items():
            words = np.frombuffer(weights.read(name), "<u2").astype("<u4") << np.uint32(16)
            numbers = np.asarray(change(name, words.view("<f4").reshape(spec.shape).copy()), "<f4")
            self._contents[name] = numbers.tobytes()
            self.specs[name] = replace(spec, dtype="F32", nbytes=numbers.nbytes)

    def read(self, name: str) -> bytearray:
        return bytearray(self._contents[name])


def in_weights(a: Architecture, names: list[str]) -> Iterator[Fault]:
    group = "weights"
    q, k = every(a, "wq"), every(a, "wk")
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
    yield Fault("wo transposed in one layer", group, turn_each([every(a, "wo")[1]], transpose_within), cure="wo trans")
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


class Bench:
    """The bundled release, held in memory, and what is known of it."""

    def __init__(self) -> None:
        with open_source(bundled_release()) as source:
            self.architecture = source.architecture
            self.weights = Held(view_as(source, "mistral"))
        self.tokenizer = Tokenizer.open(bundled_release() / "tokenizer.model")
        self.golden = read_fingerprint(bundled_golden())
        self.ids = self.tokenizer.encode(smoke_text().text)[:TOKENS]
        found = examine(self.weights, self.architecture, "BF16", Task(self.ids))
        self.expected = Expectation(self._score(found))

    def _score(self, found: Examination) -> float | None:
        return None if found.bits is None else found.bits / self.tokenizer.count_bytes(self.ids)

    def run(self, fault: Fault) -> Row:
        a = fault.architecture or self.architecture
        weights: Weights = Altered(self.weights, fault.change)
        if fault.values is not None:
            weights = Recalculated(weights, fault.values)
        found = examine(weights, a, fault.kind, Task(self.ids, self.golden, strategy=Strategy(fault.routing)))
        surveyed = Survey()
        survey(weights, surveyed)
        content = check_content(surveyed, a, {name: name for name in weights.specs})
        score, size = self._score(found), self.tokenizer.count_bytes(self.ids)
        measured = Measured(score, len(self.ids), size, found.decode_difference, found.trace.shares, found.not_finite)
        comparison = None
        if found.fingerprint is not None and found.at_golden is not None:
            comparison = compare(self.golden, found.fingerprint, found.at_golden, fault.kind)
        expected = replace(self.expected, tolerance=score_tolerance(fault.kind, 0.01))
        verdicts: Mapping[str, bool] = {
            "content": content.verdict is Verdict.BAD,
            "forward": any(find_faults(measured, a, expected)),
            "golden": comparison is not None and any(find_strays(comparison)),
        }
        caught = tuple(name for name, bad in verdicts.items() if bad)
        suspect = None if comparison is None else comparison.first_diverging
        cure = self._cure(fault, weights, a, suspect) if caught and fault.cure else ""
        return Row(
            fault.name,
            fault.group,
            score if score is not None and np.isfinite(score) else None,
            None if comparison is None else comparison.divergence,
            None if comparison is None else comparison.agreement,
            caught,
            suspect,
            cure,
            fault.cure in cure if fault.cure else None,
        )

    def _cure(self, fault: Fault, weights: Weights, a: Architecture, suspect: int | None) -> str:
        patient = Patient(
            weights,
            a,
            fault.kind,
            "mistral",
            self.tokenizer,
            self.ids,
            self.expected,
            self.golden,
            suspect,
            routing=fault.routing,
        )
        found = diagnose(patient)
        return "" if found.cure is None else found.cure.name


def show(row: Row) -> str:
    numbers = [
        "none" if value is None else f"{value:.{digits}}"
        for value, digits in ((row.bits_per_byte, "4f"), (row.divergence, "1e"), (row.agreement, "1%"))
    ]
    caught = ", ".join(row.caught) or "nothing"
    layer = "" if row.layer is None else str(row.layer)
    cure = "" if row.right is None else row.cure if row.right else f"WRONG: {row.cure or 'none'}"
    return f"| {row.name} | {' | '.join(numbers)} | {caught} | {layer} | {cure} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench()
    a = bench.architecture
    rows = []
    for faults in (in_weights(a, list(bench.weights.specs)), in_configuration(a), harmless()):
        print("\n| change | bits/byte | KL | top-1 same | caught by | first layer | diagnosis |")
        print("|---|---|---|---|---|---|---|")
        for fault in faults:
            rows.append(bench.run(fault))
            print(show(rows[-1]), flush=True)
    for group in ("weights", "configuration"):
        mine = [row for row in rows if row.group == group]
        above = [row for row in mine if row.divergence is None or row.divergence > NOISE]
        caught = sum(bool(row.caught) for row in above)
        print(f"\n{group}: {len(mine)} faults, {len(above)} above the noise of bf16, {caught} of those caught")
    right = [row for row in rows if row.right is not None]
    print(f"the diagnosis names the right cure for {sum(bool(row.right) for row in right)} of {len(right)}")
    fine = [row for row in rows if row.group == "fine"]
    print(f"{sum(bool(row.caught) for row in fine)} of {len(fine)} harmless rows are called faults")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
