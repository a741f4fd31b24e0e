"""torch, if it is installed, and set up so that it does not slow down a busy machine. torch is not imported here."""

import os
from importlib.util import find_spec

from magnetar.errors import UsageError


def require_torch() -> None:
    """Prepare for the first import of torch. Raises ``UsageError`` where it is not installed."""
    if find_spec("torch") is None:
        raise UsageError("torch is not installed, and weights cannot be run without", hint="install magnetar[boot]")
    # Read when torch is first imported. Threads that spin while they wait are tens of times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
