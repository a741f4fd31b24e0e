"""A small release on disk, with the manifest that describes it."""

import hashlib
import os
from pathlib import Path

import pytest
from blake3 import blake3

from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.schema import Manifest, parse_manifest

CONTENT = {"weights.bin": b"w" * 3000, "params.json": b"{}", "sub/tokenizer.model": b"pieces"}


def manifest_of(content: dict[str, bytes], algorithm: str = "sha256", name: str = "tiny") -> Manifest:
    lines = ["format = 1", f'name = "{name}"', 'title = "Tiny"', 'publisher = "us"', 'licence = "Apache-2.0"']
    for path, data in content.items():
        digest = blake3(data).hexdigest() if algorithm == "blake3" else hashlib.new(algorithm, data).hexdigest()
        lines += ["[[files]]", f'path = "{path}"', f"size = {len(data)}", f'digests = ["{algorithm}:{digest}"]']
    return parse_manifest("\n".join(lines).encode(), "tiny.toml")


def write(folder: Path, content: dict[str, bytes]) -> Path:
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def dig_too_deep(folder: Path) -> None:
    """Folders inside of folders, until the path is longer than the system takes: nobody can list them, root neither."""
    place = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=place)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", CONTENT)


@pytest.fixture
def choice() -> ChosenManifest:
    return ChosenManifest(manifest_of(CONTENT), "named by the test", Voucher.CATALOG)
