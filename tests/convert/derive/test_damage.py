"""No single damage beside the tensors of a copy goes unseen."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from magnetar.byte_source import LocalFile
from magnetar.convert.compare.proof import prove
from magnetar.convert.formats.gguf import read_gguf_fields
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.errors import MagnetarError
from magnetar.findings import Outcome
from magnetar.manifests.catalog import catalog, side_files_folder
from magnetar.manifests.tensor_digests import TensorDigests, load_tensor_digests
from tests.convert.derive.conftest import Copy, check, faults
from tests.convert.derive.damage import DESCRIPTIONS, damage

TRIES = 40


@pytest.fixture(scope="module")
def digests() -> TensorDigests:
    manifest = catalog()["austen-moe"]
    assert manifest.tensors is not None
    return load_tensor_digests(side_files_folder(manifest.name) / manifest.tensors.path, manifest.tensors.digest)


def is_seen(folder: Path, digests: TensorDigests) -> bool:
    """Whether what lies beside the tensors, or the tensors themselves, say that something is wrong or not checked."""
    try:
        if faults(check(folder)):
            return True
        with open_source(folder) as source:
            return prove(source, digests).outcome is Outcome.BAD
    except MagnetarError:
        return True


def without_record(path: Path) -> Any:
    """All that a file says but the texts of ``DESCRIPTIONS``, and but the blanks between the values of JSON."""
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    if path.suffix == ".gguf":
        with LocalFile(path) as source:
            return [field for field in read_gguf_fields(source) if field.key not in DESCRIPTIONS]
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header["__metadata__"] = {key: header["__metadata__"][key] for key in header["__metadata__"] if key == "format"}
    return header


def is_the_same(folder: Path, original: Path) -> bool:
    """Whether nothing is different but blanks, and texts that no runtime computes with."""
    changed = [path for path in original.iterdir() if path.is_file() and not is_equal(path, folder / path.name)]
    return all(without_record(path) == without_record(folder / path.name) for path in changed)


def is_equal(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", ["hf", "hf-sharded", "mlx", "mistral", "gguf", "gguf-sharded"])
def test_every_single_damage_is_seen(made: Copy, name: str, digests: TensorDigests, tmp_path: Path) -> None:
    done = 0
    for seed in range(TRIES):
        folder = Path(shutil.copytree(made(name), tmp_path / f"{name}-{seed}"))
        what = damage(folder, random.Random(f"{name}, {seed}"))
        done += bool(what)
        assert not what or is_seen(folder, digests) or is_the_same(folder, made(name)), what
        shutil.rmtree(folder)
    assert done > TRIES // 3
