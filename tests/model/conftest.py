"""Fixtures of the model's tests."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch comes in: spinning threads starve a busy machine

from collections.abc import Callable
from pathlib import Path

import pytest

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.bundled import bundled_release
from magnetar.model.training.pack_release import write_release
from tests.model.forge import FAMILY, load_release

WriteRelease = Callable[[Mixtral], Path]


@pytest.fixture(params=FAMILY.values(), ids=FAMILY.keys())
def architecture(request: pytest.FixtureRequest) -> Architecture:
    value: Architecture = request.param
    return value


@pytest.fixture(scope="session")
def pieces() -> bytes:
    return (bundled_release() / "tokenizer.model").read_bytes()


@pytest.fixture
def release(tmp_path: Path, pieces: bytes) -> WriteRelease:
    """Writes a model as a publisher would, with the bundled tokenizer; returns the folder."""

    def write(model: Mixtral) -> Path:
        folder = tmp_path / "release"
        write_release(folder, model.state_dict(), model.architecture, pieces, "a release for a test")
        return folder

    return write


@pytest.fixture
def bundled() -> Mixtral:
    return load_release(bundled_release())
