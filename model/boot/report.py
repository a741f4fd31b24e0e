"""What a boot found, as plain data. No torch here. Every name and text in it may be foreign."""

from dataclasses import dataclass

from magnetar.findings import Outcome, Question
from magnetar.model.checks.cures import Diagnosis
from magnetar.model.checks.golden import Comparison
from magnetar.model.checks.levels import LevelResult
from magnetar.model.compare.comparison import Agreement


@dataclass(frozen=True, slots=True)
class Conducted:
    """The head of the text, piece by piece, and who answered: ``chosen`` by layer, token, rank."""

    pieces: tuple[str, ...]
    chosen: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class BootReport:
    """The verdict on a checkpoint that was run, and what it rests on.

    ``reasons`` say why it is not healthy. ``bits_per_byte`` is over ``tokens`` pieces, ``text_bytes`` bytes of text;
    None where it was not run, or a logit was not finite; ``active_parameters`` is None where it is no known model.
    ``decode_difference`` is between the logits of decoding with a cache and of one full pass, as a share of the largest
    logit. ``expert_load`` holds for each layer each expert's share of the answers, none for a dense model;
    ``routing_entropy`` is its entropy in bits, the mean of the layers. ``sample`` is None where the whole model would
    not fit in memory. ``tokens_per_second`` is of scoring. ``assumptions`` were taken as given.

    ``levels`` are the verdicts in the order of asking. ``early_bits`` and ``late_bits`` are bits per token at the
    positions 0 to 15 and at the last 64 of the windows: a wrong rotation spares the early ones. ``residual_rms`` is of
    the first window, after each layer. ``peak_memory`` is the process's largest resident set so far, in bytes.
    ``agreement`` is with the other that the weights were held against. ``routing`` is the strategy that was followed.

    ``files`` are those that were read, ``kind`` the dtype of most of their bytes. ``weights`` is a digest over the
    names and digests of all tensors as the publisher arranges them, the same for every bit-exact copy in whatever
    layout; empty where not all of them were read.
    """

    healthy: bool
    reasons: tuple[str, ...]
    bits_per_byte: float | None
    expected: float | None
    tokens: int
    text_bytes: int
    decode_difference: float | None
    expert_load: tuple[tuple[float, ...], ...]
    routing_entropy: float | None
    sample: str | None
    layout: str
    total_parameters: int
    active_parameters: int | None
    seconds: float
    tokens_per_second: float
    assumptions: tuple[str, ...]
    levels: tuple[LevelResult, ...] = ()
    early_bits: float | None = None
    late_bits: float | None = None
    residual_rms: tuple[float, ...] = ()
    conducted: Conducted | None = None
    golden: Comparison | None = None
    agreement: Agreement | None = None
    diagnosis: Diagnosis | None = None
    routing: str = "trained"
    peak_memory: int | None = None
    files: tuple[str, ...] = ()
    kind: str = ""
    weights: str = ""

    question = Question.FUNCTION

    @property
    def outcome(self) -> Outcome:
        """Good where the weights are healthy, else bad."""
        return Outcome.GOOD if self.healthy else Outcome.BAD
