"""What a smoke test found, as plain data. No torch here."""

from dataclasses import dataclass

from magnetar.errors import ExitCode


@dataclass(frozen=True, slots=True)
class BootReport:
    """The verdict on a checkpoint that was run, and what it rests on.

    ``reasons`` say why it is not healthy. ``bits_per_byte`` is over ``tokens`` pieces, ``text_bytes`` bytes of text;
    None where a logit was not finite. ``decode_difference`` is between the logits of decoding with a cache and of one
    full pass, as a share of the largest logit. ``expert_load`` holds for each layer each expert's share of the answers,
    none for a dense model; ``routing_entropy`` is its entropy in bits, the mean of the layers. ``sample`` is None where
    the whole model would not fit in memory. ``tokens_per_second`` is of scoring. ``assumptions`` were taken as given.
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
    active_parameters: int
    seconds: float
    tokens_per_second: float
    assumptions: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """Healthy or not, as a process says it."""
        return ExitCode.GOOD if self.healthy else ExitCode.UNHEALTHY
