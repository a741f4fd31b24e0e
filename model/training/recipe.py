"""The recipe of the bundled release: what a training run depends on besides its text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training run depends on besides its text."""

    steps: int = 5000
    sequences: int = 4
    """Windows of text in one step."""
    context: int = 512
    """Tokens of a window."""
    seed: int = 1
    muon_rate: float = 0.02
    adam_rate: float = 0.01
    weight_decay: float = 0.05
    balance: float = 0.01
    """How much the imbalance of the routers, summed over the layers, counts beside the loss."""
    warmup: int = 20
    """Steps over which the learning rates rise."""
    decay_share: float = 0.6
    """The share of all steps, at the end, over which the learning rates fall."""
    evaluate_every: int = 100
    """Steps between two evaluations."""

    def rate(self, step: int) -> float:
        """The learning rate of ``step`` as a share of the highest: up, level, then linearly down to nothing."""
        return min(1.0, (step + 1) / self.warmup, (self.steps - step) / (self.steps * self.decay_share))
