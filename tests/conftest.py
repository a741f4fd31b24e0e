"""What every test is kept from: the notes that the user's own runs left, the catalog that is the user's own, and what
becomes of tests that a shell starts in the background, where Ctrl-C is ignored by them and all that they start.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where these tests' notes on verified folders go."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGNETAR_CACHE", str(folder))
        patch.setenv("MAGNETAR_CATALOG", str(folder / "no-catalog"))
        yield folder
