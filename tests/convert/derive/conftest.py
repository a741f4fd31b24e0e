"""Copies of the bundled release, made once, and what is found beside their tensors."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from magnetar.convert.derive.check_beside import check_beside
from magnetar.convert.derive.release_files import ReleaseSmallFiles
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.manifests.checking.ledger import Row, RowState
from magnetar.model.bundled import bundled_release

LICENCE, CONTEXT = "Apache-2.0", 512
SMALL = ReleaseSmallFiles(
    {name: (bundled_release() / name).read_bytes() for name in ("params.json", "tokenizer.model")}
)
MADE: dict[str, dict[str, Any]] = {
    "hf": {"target": "hf"},
    "hf-sharded": {"target": "hf", "shard_size": 2_000_000},
    "hf-f16": {"target": "hf", "dtype": "f16"},
    "mlx": {"target": "mlx"},
    "mistral": {"target": "mistral"},
    "safetensors": {"target": "safetensors"},
    "gguf": {"target": "gguf"},
    "gguf-sharded": {"target": "gguf", "shard_size": 2_000_000},
    "gguf-f32": {"target": "gguf", "dtype": "f32"},
    "gguf-q8": {"target": "gguf", "dtype": "q8_0"},
}
"""Copies that the program itself makes, and how."""

Copy = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy by its name in ``MADE``. It is shared: do not write there."""
    folder = tmp_path_factory.mktemp("made")

    def make(name: str) -> Path:
        if not (folder / name).exists():
            request = ConvertRequest(
                bundled_release(), folder / name, licence=LICENCE, context_length=CONTEXT, verify=False, **MADE[name]
            )
            convert(request)
        return folder / name

    return make


@pytest.fixture
def copy(made: Copy, tmp_path: Path) -> Copy:
    """A copy by its name in ``MADE``, to be damaged."""
    return lambda name: Path(shutil.copytree(made(name), tmp_path / name))


def check(folder: Path, small: ReleaseSmallFiles = SMALL, context_length: int | None = CONTEXT) -> tuple[Row, ...]:
    """What is found beside the tensors of a copy."""
    with open_source(folder) as source:
        return check_beside(
            source.folder,
            source.files,
            source.checkpoint,
            source.layout,
            small,
            licence=LICENCE,
            context_length=context_length,
        )


def faults(rows: Iterable[Row]) -> dict[str, RowState]:
    """The rows that keep a copy from being proven whole: ``file: name`` and what is known of it."""
    return {
        f"{row.file}: {row.name}": row.state
        for row in rows
        if row.state is not RowState.PROVEN and (row.loadable or row.state is RowState.WRONG)
    }
