"""What a boot found, as plain data. No torch here. Every name and text in it may be foreign."""

from dataclasses import dataclass

from magnetar.findings import Outcome, Question
from magnetar.model.checks.cures import Diagnosis
from magnetar.model.checks.golden import FingerprintComparison
from magnetar.model.checks.levels import LevelResult
from magnetar.model.compare.comparison import Agreement


@dataclass(frozen=True, slots=True)
class RoutedText:
    """The head of the text, token by token, with the experts that answered each.

    ``pieces`` are the tokens as they read. ``chosen`` are expert numbers by layer and token, the heaviest first.
    """

    pieces: tuple[str, ...]
    chosen: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class BootReport:
    """The verdict on a checkpoint, and the facts that it rests on. A fact that is not known is None, or empty."""

    healthy: bool
    reasons: tuple[str, ...]
    """Why it is not healthy; empty where it is."""
    bits_per_byte: float | None = None
    """The score on ``tokens`` tokens; None where the model was not run, or a logit was not finite."""
    expected: float | None = None
    """The score that the release is known to have on this text, in bits per byte."""
    tokens: int = 0
    text_bytes: int = 0
    """Bytes of UTF-8 that ``tokens`` stand for."""
    decode_difference: float | None = None
    """How far decoding with a cache is from one full pass, as a share of the largest logit."""
    expert_load: tuple[tuple[float, ...], ...] = ()
    """For each layer the share of the answers that each expert gave; empty for a dense model."""
    routing_entropy: float | None = None
    """The entropy of the load in bits, the mean of the layers."""
    sample: str | None = None
    """What the model writes; None where the whole of it would not fit in memory."""
    layout: str = "unknown"
    total_parameters: int = 0
    active_parameters: int | None = None
    """Parameters that one token meets; None where the architecture is not known."""
    seconds: float = 0.0
    """Wall time of the whole boot."""
    tokens_per_second: float = 0.0
    """The speed of scoring."""
    assumptions: tuple[str, ...] = ()
    """What was taken as given."""
    levels: tuple[LevelResult, ...] = ()
    """The verdicts, in the order of the levels."""
    early_bits: float | None = None
    """Bits per token at the positions 0 to 15 of the windows. A wrong rotary embedding spares these."""
    late_bits: float | None = None
    """Bits per token at the last 64 positions of the windows."""
    residual_rms: tuple[float, ...] = ()
    """The root mean square of the residual stream of the first window, after each layer."""
    routed_text: RoutedText | None = None
    golden: FingerprintComparison | None = None
    """The distance from the fingerprint of the release."""
    agreement: Agreement | None = None
    """The distance from the other model that the weights were held against."""
    diagnosis: Diagnosis | None = None
    routing: str = "trained"
    """The routing strategy that was followed."""
    peak_memory: int | None = None
    """The largest resident set of a process so far, in bytes."""
    files: tuple[str, ...] = ()
    """The names of the files that were read."""
    kind: str = ""
    """The dtype or block format of most of their bytes."""
    weights: str = ""
    """One digest over the names and digests of all tensors, as the publisher arranges them.

    It is the same for every bit-exact copy, in whatever layout; empty where not all tensors were read.
    """

    question = Question.FUNCTION

    @property
    def outcome(self) -> Outcome:
        """Good where the weights are healthy, else bad."""
        return Outcome.GOOD if self.healthy else Outcome.BAD


REPORT_OF_ANOTHER_PROCESS = BootReport(healthy=False, reasons=("the report is that of process 0",))
"""What a boot returns in a process of a group that is not its first."""
