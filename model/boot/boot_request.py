"""What can be asked of a checkpoint: to be booted, to be compared under several routings, to continue a text.

Frozen values, so that the type checker finds a misspelt option. torch is imported only to check the name of a routing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.model.checks.levels import Level
from magnetar.model.compare.comparison import OtherModel
from magnetar.model.machine.machine import ONE_CPU_PROCESS, Machine

RUNNING = frozenset({Level.FORWARD, Level.GOLDEN})
"""The levels that run the model, and so need torch."""


@dataclass(frozen=True, slots=True)
class BootRequest:
    """Ask whether the checkpoint at ``path`` works."""

    path: Path
    """A folder or a file that ``convert`` reads, in any layout."""
    levels: Collection[Level] = tuple(Level)
    """What is tested, in any order. Default: all levels."""
    text: str | None = None
    """The text that the model is scored on: all of it, or as much as a model of its size reads in seconds.

    Default (None): the bundled held-out text.
    """
    golden: Path | None = None
    """The file with the fingerprint of the release. Default (None): the level ``golden`` is skipped."""
    expected: float | None = None
    """The score that the release has on ``text``, in bits per byte. Default (None): not known."""
    tolerance: float = 0.01
    """How far the score may be from ``expected``, as a share of it. A coarse storage format allows more by itself."""
    routing: str = "trained"
    """A name of ``routing.Strategy``. Known scores and fingerprints hold for ``trained``, the default, alone."""
    machine: Machine = ONE_CPU_PROCESS
    """The memory, device and arithmetic that may be used. A run that would take more memory is not begun."""
    against: OtherModel | None = None
    """Another checkpoint, or a server, that is asked about the same text and should say the same. Default: none."""
    diagnose: bool = True
    """Whether to look for the known mistake that explains a bad verdict."""
    converted_from: str = ""
    """The release that a note beside the weights names as their source. It goes into advice, and is not believed."""
    sample_tokens: int = 32
    """Length of the sample that the model writes, in tokens; each is the likeliest one."""

    @property
    def runs_the_model(self) -> bool:
        """Whether anything that is asked needs a run of the model."""
        return self.against is not None or not RUNNING.isdisjoint(self.levels)

    @property
    def is_trained_routing(self) -> bool:
        """Whether the model is run as it was trained, so that a known score and a fingerprint hold."""
        return self.routing == "trained"


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """Score the checkpoint at ``path`` under several routings, side by side."""

    path: Path
    strategies: tuple[str, ...] = ()
    """Names of ``routing.Strategy``. Default (none): every one that is worth comparing, ``routing.SHOWN``."""
    text: str | None = None
    """The text to score; its first 4,096 tokens are read. Default (None): the bundled held-out text."""
    machine: Machine = ONE_CPU_PROCESS
    """The memory, device and arithmetic that may be used."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Continue ``prompt`` with the model at ``path``."""

    path: Path
    prompt: str
    max_tokens: int = 128
    """Stop after this many tokens; the model may end the text before."""
    temperature: float = 0.8
    """The next token is drawn from ``softmax(logits / temperature)``. 0 takes the likeliest token each time."""
    seed: int = 0
    """The seed of the drawing: the same seed gives the same text on the same machine."""
    machine: Machine = ONE_CPU_PROCESS
    """The memory, device and arithmetic that may be used. As much of the model as fits stays in memory."""


def check_routing(name: str) -> None:
    """Raises ``UsageError`` for a strategy that is not known. Imports torch."""
    from magnetar.model.architecture.routing import Strategy

    if name not in list(Strategy):
        raise UsageError(f"the routing {name!r} is not known", hint=f"known are {', '.join(Strategy)}")
