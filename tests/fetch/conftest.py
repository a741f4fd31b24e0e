"""Releases, published and served on 127.0.0.1."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from magnetar.fetch.seed.seed import Seeding
from tests.fetch.world import contents, serve, write_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "published" / "mixtral-tiny")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeding]:
    """One seeder for all tests that only fetch; its folder is called ``mixtral-tiny``."""
    folder = write_release(tmp_path_factory.mktemp("published") / "mixtral-tiny")
    with serve(folder, piece_length=32768) as seeding:
        yield seeding


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a fetched copy of ``published`` must hold."""
    return contents(write_release(tmp_path_factory.mktemp("payload") / "mixtral-tiny"))
