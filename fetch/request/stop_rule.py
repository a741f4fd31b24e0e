"""When a seeding has given enough."""

from collections.abc import Callable
from dataclasses import dataclass

Stop = Callable[[], bool]


def never() -> bool:
    """The default end of a seeding: only Ctrl-C ends it."""
    return False


@dataclass(frozen=True, slots=True)
class Goal:
    """``ratio`` bytes sent for each byte of the release, or ``seconds``, whichever comes first; None: no end."""

    ratio: float | None = None
    seconds: float | None = None

    def is_reached(self, uploaded: int, size: int, elapsed: float) -> bool:
        """Whether ``uploaded`` bytes of a release of ``size`` bytes, in ``elapsed`` seconds, are enough."""
        enough = self.ratio is not None and uploaded >= self.ratio * size
        return enough or (self.seconds is not None and elapsed >= self.seconds)
