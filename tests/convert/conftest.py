"""Fixtures of the conversion's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from magnetar.convert.layout.architecture import Architecture
from tests.convert.forge import MOE, TEXT, Tensors, train_tokenizer, write_release


@pytest.fixture(scope="session")
def tokenizer_model() -> bytes:
    return train_tokenizer(TEXT, 420)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release", MOE)


@pytest.fixture
def make_release(tmp_path: Path) -> Callable[[Architecture, Tensors | None], Path]:
    def make(architecture: Architecture, tensors: Tensors | None = None) -> Path:
        return write_release(tmp_path / "release", architecture, tensors)

    return make
