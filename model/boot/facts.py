"""The facts of a boot: everything that was measured, and no judgement of it. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from magnetar.findings import Finding
from magnetar.model.boot.boot_report import RoutedText
from magnetar.model.checks.content import TensorFacts
from magnetar.model.checks.structure import HeaderFacts
from magnetar.model.compare.comparison import Answers, NoAnswer
from magnetar.model.run.run_facts import RunFacts

NOT_RUN = "the model was not run"
"""Why a level was skipped that needs a run."""


@dataclass(frozen=True, slots=True, eq=False)
class TextFacts:
    """What came of running the model on a text."""

    run: RunFacts
    text_tokens: int
    """Tokens of the whole text, of which the run may have scored only the first."""
    answered_bytes: int = 0
    """Bytes of the tokens that the other model answered; 0 without one, or without a tokenizer."""
    sample: str | None = None
    """What the model writes after the head of the text; None where the whole model would not fit in memory."""
    routed_text: RoutedText | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BootFacts:
    """What was measured of one checkpoint."""

    headers: HeaderFacts
    text: TextFacts | Finding | None = None
    """The run on the text; the obstacle where the model could not be run; None where no run was asked for."""
    other: Answers | NoAnswer | None = None
    """What another model answers to the same text; None where none was asked."""
    tensors: Mapping[str, TensorFacts] = field(default_factory=dict)
    """The facts of the tensors that were read whole, by the publisher's names."""

    @property
    def run(self) -> RunFacts | None:
        """The facts of the run; None where there was none."""
        return self.text.run if isinstance(self.text, TextFacts) else None
