"""The form of MLX-LM, loaded by MLX-LM itself on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from tests import needs
from tests.convert.forge import DENSE, MOE, random_tensors, write_release

BUNDLED = Path(__file__).parents[3] / "model" / "release" / "austen-moe"

IN_MLX = """
import sys, numpy, mlx.core as mx
from pathlib import Path
mx.set_default_device(mx.cpu)
from mlx_lm.utils import load_model
model, _ = load_model(Path(sys.argv[1]))
numpy.save(sys.argv[3], numpy.array(model(mx.array(numpy.load(sys.argv[2])))))
"""


def logits_of_mlx(folder: Path, ids: np.ndarray, scratch: Path) -> np.ndarray:
    """In a process of its own: MLX and torch need not share one."""
    np.save(scratch / "ids.npy", ids)
    words = [sys.executable, "-c", IN_MLX, str(folder), str(scratch / "ids.npy"), str(scratch / "logits.npy")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(scratch / "logits.npy")


def test_mlx_lm_computes_the_logits_of_the_bundled_model(tmp_path: Path) -> None:
    """In 32 bits, since MLX has no other matrix product over chosen experts on a CPU."""
    needs.package("mlx_lm", "mlx-lm")
    from magnetar.model.run.load import load_model

    assert convert(ConvertRequest(BUNDLED, tmp_path / "mlx", target="mlx", dtype="f32", shard_size=4_000_000)).verified
    ids = np.random.default_rng(3).integers(0, 1024, (2, 20))
    with open_source(BUNDLED) as source:
        model = load_model(view_as(source, "mistral"), source.architecture)
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids)).numpy()
    assert expected.std() > 0.5
    np.testing.assert_allclose(logits_of_mlx(tmp_path / "mlx", ids, tmp_path), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", [MOE, DENSE], ids=["moe", "dense"])
def test_what_is_written_for_mlx_is_read_back_as_the_release(architecture: object, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", architecture)  # type: ignore[arg-type]
    assert convert(ConvertRequest(release, tmp_path / "mlx", target="mlx")).verified
    assert convert(ConvertRequest(tmp_path / "mlx", tmp_path / "back", target="mistral")).verified
    with safe_open(tmp_path / "mlx" / "model.safetensors", "pt") as opened:
        assert opened.metadata()["format"] == "mlx"
    with open_source(tmp_path / "mlx") as source:
        assert source.layout == ("mlx" if architecture is MOE else "hf")
    with safe_open(tmp_path / "back" / "consolidated.safetensors", "pt") as opened:
        for name, tensor in random_tensors(architecture).items():  # type: ignore[arg-type]
            assert torch.equal(opened.get_tensor(name), tensor)


def test_experts_are_stacked_for_mlx(release: Path, tmp_path: Path) -> None:
    convert(ConvertRequest(release, tmp_path / "mlx", target="mlx"))
    tensors = random_tensors(MOE)
    with safe_open(tmp_path / "mlx" / "model.safetensors", "pt") as opened:
        stack = opened.get_tensor("model.layers.1.block_sparse_moe.switch_mlp.down_proj.weight")
    expected = torch.stack([tensors[f"layers.1.feed_forward.experts.{expert}.w2.weight"] for expert in range(3)])
    assert torch.equal(stack, expected)
    assert json.loads((tmp_path / "mlx" / "config.json").read_text())["model_type"] == "mixtral"
