"""What the processes that boot one model do together; alone, one does all of it. torch is imported where it runs."""

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
from magnetar.model.checks.content import Survey, TensorFacts, survey
from magnetar.model.checks.forward import estimate_memory
from magnetar.model.cluster.shares import divide
from magnetar.model.machine.machine import Machine
from magnetar.model.run.weights import Buffer, Weights

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import Examination, Task


class Portion:
    """The weights that are tested in this process."""

    def __init__(self, weights: Weights, names: Sequence[str]) -> None:
        self._weights = weights
        self.specs: Mapping[str, TensorSpec] = MappingProxyType({name: weights.specs[name] for name in names})

    def read(self, name: str) -> bytearray:
        """One tensor's bytes. Raises what the weights themselves raise."""
        return self._weights.read(name)


class Together:
    """One process's part in a boot. All processes call the same methods in the same order.

    Raises ``UsageError`` if there are more processes than layers, or experts, and later if they do not all boot the
    same thing; and whatever ends another process.
    """

    def __init__(self, weights: Weights, architecture: Architecture, machine: Machine) -> None:
        self._weights, self._architecture, self._machine = weights, architecture, machine
        self._crew = machine.crew
        self.share = divide(architecture, self._crew.rank, self._crew.size, by_experts=machine.by_experts)
        self.first = self.share.first
        self._mine = Portion(weights, [name for name in weights.specs if self.share.tests(name)])

    def agree(self, obstacle: Finding | None, ids: Sequence[int]) -> Finding | None:
        """The first obstacle that any process met; without one, all are about to run the same model on the same ids."""
        told = self._crew.gather([self._sum_up(ids), None if obstacle is None else asdict(obstacle)])
        obstacles = [met for _digest, met in told if met is not None]
        odd = [rank for rank, (digest, _met) in enumerate(told) if digest != told[0][0]]
        met = self._crew.tell(obstacles[0] if obstacles else None)
        if odd and met is None:
            raise UsageError(
                f"rank {odd[0]} sees another checkpoint, or another text, than rank 0",
                hint="give every process the same folder and the same options",
            )
        return None if met is None else Finding(**met)

    def examine(self, kind: str, task: "Task", found: Survey | None, emit: Emit) -> "Examination":
        """Run the model; on the way look at the content of the tensors that are tested here, if it is wanted."""
        from magnetar.model.run.measure_run import examine

        def look(spec: TensorSpec, content: Buffer) -> None:
            if found is not None and self.share.tests(spec.name):
                found.look(spec, content)

        share, crew = self.share, self._crew
        return examine(self._weights, self._architecture, kind, task, look, emit, share=share, crew=crew)

    def write_on(self, prompt: Sequence[int], count: int) -> list[int] | None:
        """At most ``count`` further ids, the likeliest each; None where a process has no room for its weights."""
        from magnetar.model.run.generate import follow_streamed, generate_ids
        from magnetar.model.run.resident_weights import Shelf
        from magnetar.model.run.streamed_model import Past, StreamedModel

        architecture, arithmetic = self._architecture, self._machine.arithmetic()
        needed = sum(spec.nbytes for name, spec in self._weights.specs.items() if self.share.reads(name))
        room = self._machine.room_for_weights(estimate_memory(self._weights, architecture, 0))
        if not self._crew.tell(all(self._crew.gather(needed <= room))):
            return None
        shelf = Shelf(self._weights, room, arithmetic.device)
        model = StreamedModel(shelf, architecture, arithmetic=arithmetic, share=self.share, crew=self._crew)
        past = Past(self.share.layers, architecture, len(prompt) + count, arithmetic)
        return list(generate_ids(follow_streamed(model, past), prompt, count, crew=self._crew))

    def survey(self, found: Survey, emit: Emit) -> None:
        """Look at the content of what is tested here and was not met yet; the first learns what the others saw."""
        survey(self._mine, found, emit)
        for facts in self._crew.gather([asdict(fact) for fact in found.facts.values()]):
            found.facts |= {fact["name"]: TensorFacts(**fact) for fact in facts}

    def tell_any(self, value: Any) -> Any:
        """What the first says, for all."""
        return self._crew.tell(value)

    def _sum_up(self, ids: Sequence[int]) -> str:
        """A digest of what is about to be run: the same in processes that see the same."""
        specs = [(spec.name, spec.dtype, spec.shape) for spec in self._weights.specs.values()]
        seen = repr((self._architecture, specs, list(ids), self._machine.by_experts, self._machine.dtype))
        return hashlib.sha256(seen.encode()).hexdigest()
