"""Which level of ``magnetar boot`` catches which fault, and whether the diagnosis names the cure.

Every row is the bundled release after one change, run on the 512 tokens of its fingerprint and, for the score, on the
head of its smoke text. There are three groups of rows: faults in the weights; faults of the configuration or the
runtime; and storage in narrower formats, declared as such, none of which may fail.

    python benchmarks/faults.py [--json FILE]
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from fault_table import Fault, Numbers, harmless, in_configuration, in_weights

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.findings import Outcome
from magnetar.model.architecture.routing import Strategy
from magnetar.model.architecture.tokenizer import Tokenizer
from magnetar.model.boot.judge import tolerate_format
from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.checks.allowances import allowance_for
from magnetar.model.checks.content import Survey, judge_content, survey_rest
from magnetar.model.checks.diagnosis import Patient, diagnose
from magnetar.model.checks.forward import ExpectedScore, judge_forward
from magnetar.model.checks.golden import Reference, judge_golden
from magnetar.model.run.altered_weights import AlteredWeights, HeldWeights
from magnetar.model.run.fingerprint import Fingerprint, read_fingerprint
from magnetar.model.run.measure_run import RunPlan, measure_run
from magnetar.model.run.weights import Weights

TOKENS = 6144
NOISE = 8.5e-5
"""KL of the same weights computed in bfloat16. A smaller KL cannot be told from the rounding of another kernel."""


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


class Bench:
    """The bundled release, held in memory, and what is known of it."""

    def __init__(self) -> None:
        with open_source(bundled_release()) as source:
            self.architecture = source.architecture
            self.weights = HeldWeights(view_as(source, "mistral"))
        self.tokenizer = Tokenizer.open(bundled_release() / "tokenizer.model")
        self.golden = read_fingerprint(bundled_golden())
        self.ids = self.tokenizer.encode(smoke_text().text)[:TOKENS]
        run = measure_run(self.weights, self.architecture, "BF16", self._plan(None, "trained"))
        self.expected = ExpectedScore(run.bits_per_byte)

    def _plan(self, golden: Fingerprint | None, routing: str) -> RunPlan:
        return RunPlan(self.ids, self.tokenizer.count_bytes(self.ids), golden, strategy=Strategy(routing))

    def run(self, fault: Fault) -> Row:
        a = fault.architecture or self.architecture
        weights: Weights = AlteredWeights(self.weights, fault.change)
        if fault.values is not None:
            weights = Recalculated(weights, fault.values)
        run = measure_run(weights, a, fault.kind, self._plan(self.golden, fault.routing))
        survey = Survey()
        survey_rest(weights, survey)
        # A fault of the runtime is one of a model that is believed to run as it was trained.
        golden, comparison = judge_golden(replace(run, routing="trained"), self.golden, fault.kind)
        levels = (
            judge_content(survey.facts, a, {name: name for name in weights.specs}),
            judge_forward(run, a, tolerate_format(self.expected, fault.kind)),
            golden,
        )
        caught = tuple(level.name for level in levels if level.outcome is Outcome.BAD)
        reference = None
        if comparison is not None:
            allowance = allowance_for(fault.kind, self.golden)
            reference = Reference(self.golden, allowance, comparison.first_diverging)
        cure = self._cure(fault, weights, a, reference) if caught and fault.cure else ""
        return Row(
            name=fault.name,
            group=fault.group,
            bits_per_byte=run.bits_per_byte,
            divergence=None if comparison is None else comparison.divergence,
            agreement=None if comparison is None else comparison.agreement,
            caught=caught,
            layer=None if comparison is None else comparison.first_diverging,
            cure=cure,
            right=fault.cure in cure if fault.cure else None,
        )

    def _cure(self, fault: Fault, weights: Weights, a: Architecture, reference: Reference | None) -> str:
        patient = Patient(
            weights=weights,
            architecture=a,
            kind=fault.kind,
            layout="mistral",
            tokenizer=self.tokenizer,
            ids=self.ids,
            expected=self.expected,
            reference=reference,
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
