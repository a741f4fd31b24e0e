"""What is said to work without a network, torch and libtorrent, run where none of them is to be had."""

import subprocess
import sys
from pathlib import Path

import pytest

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.model.bundled import bundled_release

ALONE = """
import sys
sys.modules.update(dict.fromkeys(("torch", "libtorrent", "urllib3", "requests", "model_signing")))

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(watch)
from magnetar.cli.app import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled release in two other formats."""
    folder = tmp_path_factory.mktemp("alone")
    for target in ("hf", "gguf"):
        convert(ConvertRequest(bundled_release(), folder / target, target=target, verify=False))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "verify {release}",
        "verify {folder}/hf -m austen-moe",
        "verify {folder}/gguf/model.gguf -m austen-moe",
        "same {release} {folder}/gguf",
        "manifest create {release}",
        "manifest tensors {folder}/hf -o {folder}/x.json",
    ],
)
def test_it_needs_neither_network_nor_torch_nor_libtorrent(folder: Path, words: str) -> None:
    filled = [word.format(release=bundled_release(), folder=folder) for word in words.split()]
    done = subprocess.run([sys.executable, "-c", ALONE, *filled], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
