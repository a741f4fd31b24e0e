"""What the processes that boot one model do together. torch is imported only where it runs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import UsageError
from magnetar.events import Emit
from magnetar.findings import Finding
from magnetar.model.checks.content import Survey, TensorFacts, survey_rest
from magnetar.model.cluster.shares import divide
from magnetar.model.machine.machine import Machine
from magnetar.model.run.estimate_memory import estimate_memory
from magnetar.model.run.run_facts import RunFacts
from magnetar.model.run.weights import Buffer, Weights

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import RunPlan


class WeightsSubset:
    """Some tensors of a checkpoint."""

    def __init__(self, weights: Weights, names: Sequence[str]) -> None:
        self._weights = weights
        self.specs: Mapping[str, TensorSpec] = MappingProxyType({name: weights.specs[name] for name in names})

    def read(self, name: str) -> bytearray:
        """One tensor's bytes. Raises what the weights themselves raise."""
        return self._weights.read(name)


class DistributedRun:
    """One process's part in a boot. All processes call the same methods in the same order.

    ``share`` is what of the model this process runs. ``first`` says whether it is process 0, which has the results.

    Raises ``UsageError`` if there are more processes than layers, or experts. The methods raise whatever ended another
    process.
    """

    def __init__(self, weights: Weights, architecture: Architecture, machine: Machine) -> None:
        self.weights = weights
        self._architecture, self._machine, self._group = architecture, machine, machine.group
        self.share = divide(architecture, self._group.rank, self._group.size, by_experts=machine.by_experts)
        self.first = self.share.first
        self._tested = WeightsSubset(weights, [name for name in weights.specs if self.share.tests(name)])

    def agree_to_run(self, obstacle: Finding | None, ids: Sequence[int]) -> Finding | None:
        """The first obstacle that any process met; None if all are about to run the same model on the same ids.

        Raises ``UsageError`` if they see different checkpoints, or texts.
        """
        plans = self._group.gather([self._digest_plan(ids), None if obstacle is None else asdict(obstacle)])
        obstacles = [met for _digest, met in plans if met is not None]
        odd = [rank for rank, (digest, _met) in enumerate(plans) if digest != plans[0][0]]
        met = self._group.broadcast(obstacles[0] if obstacles else None)
        if odd and met is None:
            raise UsageError(
                f"rank {odd[0]} sees another checkpoint, or another text, than rank 0",
                hint="give every process the same folder and the same options",
            )
        return None if met is None else Finding(**met)

    def measure_run(self, kind: str, plan: "RunPlan", survey: Survey | None, emit: Emit) -> RunFacts:
        """Run this process's share of the model. Tensors that are tested here are added to ``survey`` on the way."""
        from magnetar.model.run.measure_run import measure_run

        def on_read(spec: TensorSpec, content: Buffer) -> None:
            if survey is not None and self.share.tests(spec.name):
                survey.add(spec, content)

        share, group = self.share, self._group
        return measure_run(self.weights, self._architecture, kind, plan, on_read, emit, share=share, group=group)

    def generate_greedily(self, prompt: Sequence[int], count: int) -> list[int] | None:
        """At most ``count`` further ids, each the likeliest; None where a process has no room for its weights."""
        from magnetar.model.run.generate import generate_ids, predict_streamed
        from magnetar.model.run.resident_weights import ResidentWeights
        from magnetar.model.run.streamed_model import Caches, StreamedModel

        architecture, arithmetic = self._architecture, self._machine.arithmetic()
        needed = sum(spec.nbytes for name, spec in self.weights.specs.items() if self.share.reads(name))
        room = self._machine.room_for_weights(estimate_memory(self.weights, architecture, 0))
        if not self._group.broadcast(all(self._group.gather(needed <= room))):
            return None
        resident = ResidentWeights(self.weights, room, arithmetic.device)
        model = StreamedModel(resident, architecture, arithmetic=arithmetic, share=self.share, group=self._group)
        caches = Caches(self.share.layers, architecture, len(prompt) + count, arithmetic)
        return list(generate_ids(predict_streamed(model, caches), prompt, count, group=self._group))

    def survey_rest(self, survey: Survey, emit: Emit) -> None:
        """Measure the tensors that are tested here and are not in ``survey``. Process 0 gets the facts of all."""
        survey_rest(self._tested, survey, emit)
        for facts in self._group.gather([asdict(fact) for fact in survey.facts.values()]):
            survey.facts |= {fact["name"]: TensorFacts(**fact) for fact in facts}

    def broadcast(self, value: Any) -> Any:
        """The value of process 0, for all."""
        return self._group.broadcast(value)

    def _digest_plan(self, ids: Sequence[int]) -> str:
        """A digest of what is about to be run: the same in processes that see the same."""
        specs = [(spec.name, spec.dtype, spec.shape) for spec in self.weights.specs.values()]
        seen = repr((self._architecture, specs, list(ids), self._machine.by_experts, self._machine.dtype))
        return hashlib.sha256(seen.encode()).hexdigest()
