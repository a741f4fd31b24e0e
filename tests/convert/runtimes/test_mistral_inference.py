"""The publisher's form, loaded strictly by the publisher's own code, which must compute what the release computes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from tests import needs
from tests.convert.forge import DENSE, write_release

needs.package("mistral_inference", "mistral-inference")  # what it needs has wheels for Linux on x86-64 only

BUNDLED = Path(__file__).parents[3] / "model" / "release" / "austen-moe"

# Its attention is xformers', which has kernels for CUDA only; xformers' own masks say here what may see what. A part
# of the text goes through the cache at once, the rest one token after the other.
IN_MISTRAL_INFERENCE = """
import sys, numpy, torch
from torch.nn.functional import scaled_dot_product_attention
from mistral_inference import transformer_layers
from mistral_inference.cache import BufferCache
from mistral_inference.transformer import Transformer

def attend(query, key, value, mask):
    seen = mask.materialize((query.shape[1], key.shape[1]), query.dtype)
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2).contiguous()

transformer_layers.memory_efficient_attention = attend
model = Transformer.from_folder(sys.argv[1], device="cpu", dtype=torch.float32).eval()
ids = torch.from_numpy(numpy.load(sys.argv[2]))
args = model.args
cache = BufferCache(args.n_layers, 1, len(ids), args.n_kv_heads, args.head_dim)
cache.to(device="cpu", dtype=torch.float32)
cache.reset()
for memory in (*cache.cache_k.values(), *cache.cache_v.values()):
    memory.zero_()  # it was never cleared, and nothing, times a NaN, is one
with torch.inference_mode():
    parts = [model(part, [len(part)], cache) for part in (ids[:20], *ids[20:].split(1))]
numpy.save(sys.argv[3], torch.cat(parts).numpy())
"""


def logits_of_mistral_inference(folder: Path, ids: np.ndarray, scratch: Path) -> np.ndarray:
    """Of the tokens [t], as [t, vocabulary]; in a process of its own, since xformers warns of what it lacks."""
    np.save(scratch / "ids.npy", ids)
    words = [sys.executable, "-W", "ignore", "-c", IN_MISTRAL_INFERENCE]
    words += [str(path) for path in (folder, scratch / "ids.npy", scratch / "logits.npy")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(scratch / "logits.npy")


def logits_of_ours(release: Path, ids: np.ndarray) -> np.ndarray:
    from magnetar.model.run.load import load_model

    with open_source(release) as source:
        model = load_model(view_as(source, "mistral"), source.architecture)
    with torch.inference_mode():
        return model(torch.from_numpy(ids)[None])[0].numpy()


def test_the_publishers_code_computes_the_logits_of_the_bundled_model(tmp_path: Path) -> None:
    """From GGUF, so that every tensor has been named and arranged anew twice."""
    convert(ConvertRequest(BUNDLED, tmp_path / "gguf", target="gguf"))
    assert convert(ConvertRequest(tmp_path / "gguf", tmp_path / "out", target="mistral")).verified
    ids = np.random.default_rng(3).integers(0, 1024, 24)
    expected = logits_of_ours(BUNDLED, ids)
    assert expected.std() > 0.5
    logits = logits_of_mistral_inference(tmp_path / "out", ids, tmp_path)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_dense_model_keeps_the_theta_that_its_publisher_left_out(tmp_path: Path) -> None:
    """The publisher's code takes 1e6 where params.json is silent; Mistral 7B was trained with 1e4."""
    release = write_release(tmp_path / "release", DENSE)
    params = json.loads((release / "params.json").read_text())
    del params["rope_theta"]
    (release / "params.json").write_text(json.dumps(params | {"sliding_window": 4096}))
    convert(ConvertRequest(release, tmp_path / "out", target="mistral"))
    assert json.loads((tmp_path / "out" / "params.json").read_text())["rope_theta"] == 1e4
    ids = np.arange(24) % 9
    logits = logits_of_mistral_inference(tmp_path / "out", ids, tmp_path)
    np.testing.assert_allclose(logits, logits_of_ours(release, ids), rtol=0, atol=1e-4)
