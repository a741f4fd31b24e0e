"""Converted copies of the bundled release, as somebody would get them from a stranger: without hidden files."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.read.checkpoint_source import TOKENIZER, open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.tokenizer_json import read_vocabulary
from magnetar.files import STATE_FOLDER
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import SideFile
from magnetar.manifests.tensor_digests import format_tensor_digests
from magnetar.manifests.writing.create_manifest import ManifestFacts, create_manifest, to_toml
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.convert import convert_release
from tests.convert.forge import MOE, write_release

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


@dataclass(frozen=True)
class TinyRelease:
    """A release of a few hundred kB, to be verified thousands of times: its manifest, and ``copies`` by target."""

    manifest: Path
    copies: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    root = tmp_path_factory.mktemp("tiny")
    pieces = len(read_vocabulary((bundled_release() / TOKENIZER).read_bytes()).pieces)
    folder = write_release(root / "tiny", replace(MOE, vocab_size=pieces))
    shutil.copy(bundled_release() / TOKENIZER, folder)
    with open_source(folder) as source:
        content = format_tensor_digests(tensor_digests(source))
    (root / "tiny.tensors.json").write_bytes(content)
    facts: ManifestFacts = {
        "name": "tiny",
        "title": "Tiny",
        "publisher": "us",
        "licence": "Apache-2.0",
        "tensors": SideFile(path="tiny.tensors.json", digest=Digest("sha256", hashlib.sha256(content).hexdigest())),
    }
    manifest = root / "tiny.toml"
    manifest.write_text(to_toml(create_manifest(folder, facts, ["sha256"])))
    for target in TARGETS:
        convert(ConvertRequest(folder, root / "copies" / target, target=target, licence="Apache-2.0"))
        shutil.rmtree(root / "copies" / target / STATE_FOLDER)
    return TinyRelease(manifest, root / "copies")
