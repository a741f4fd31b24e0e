"""Converted copies of the bundled release, as somebody would get them from a stranger: without hidden files."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.files import STATE_FOLDER
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.convert import convert_release

TARGETS = ("hf", "gguf", "mlx", "mistral")
SHARD = 2_000_000


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a copy of each kind, named for its target; ``hf-sharded`` has several shards."""
    root = tmp_path_factory.mktemp("copies")
    for name in (*TARGETS, "hf-sharded"):
        target = name.removesuffix("-sharded")
        size = SHARD if name.endswith("-sharded") else None
        convert_release(ConvertRequest(bundled_release(), root / name, target=target, shard_size=size, verify=False))
        shutil.rmtree(root / name / STATE_FOLDER)
    yield root


@pytest.fixture
def copy_of(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a copy, to damage at will."""
    return lambda name: Path(shutil.copytree(originals / name, tmp_path / name))
