"""What every test is kept from: the notes that the user's own runs left, and the catalog that is the user's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where these tests' notes on verified folders go."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGNETAR_CACHE", str(folder))
        patch.setenv("MAGNETAR_CATALOG", str(folder / "no-catalog"))
        yield folder
