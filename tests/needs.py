"""What some tests need and not every machine has. Without it they are skipped, with a reason of one form.

The form is ``needs WHAT: HOW TO GET IT``. ``tests/conftest.py`` lists these reasons at the end of a run.
"""

import sys
from typing import Any

import pytest

ON_LINUX = sys.platform.startswith("linux")

linux = pytest.mark.skipif(not ON_LINUX, reason="needs Linux: run the tests there, or in a container")
"""For what is measured in /proc, or limited by RLIMIT_*."""


def package(module: str, distribution: str) -> Any:
    """Import a module, or skip what asks for it."""
    return pytest.importorskip(module, reason=f"needs {distribution}: pip install {distribution}")
