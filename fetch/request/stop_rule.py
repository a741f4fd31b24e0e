"""When a seeding has given enough."""

from collections.abc import Callable
from dataclasses import dataclass

Stop = Callable[[], bool]
"""Is asked again and again whether to stop."""


def never() -> bool:
    """A ``Stop`` that never stops: only Ctrl-C ends the seeding."""
    return False


@dataclass(frozen=True, slots=True)
class Goal:
    """The end of a seeding: ``ratio`` bytes sent for each byte of the release, or ``seconds``, whichever comes first.

    None sets no such end.
    """

    ratio: float | None = None
    seconds: float | None = None

    def is_reached(self, uploaded: int, size: int, elapsed: float) -> bool:
        """Whether ``uploaded`` bytes of a release of ``size`` bytes, in ``elapsed`` seconds, are enough."""
        enough = self.ratio is not None and uploaded >= self.ratio * size
        return enough or (self.seconds is not None and elapsed >= self.seconds)
