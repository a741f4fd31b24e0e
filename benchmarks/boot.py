"""What streaming costs: layers of Mixtral 8x7B's real size, run from disk, against reading them and against computing.

    python benchmarks/boot.py [--work FOLDER] [--layers 4] [--tokens 512]

Writes a checkpoint of random bfloat16 weights (2.9 GB a layer) into FOLDER once, then measures, each in a process of
its own: a plain sequential read; the pass as ``magnetar boot`` makes it, with the file in the page cache and, where
the system lets it be dropped, without; and the same arithmetic on one layer's weights that are in memory already.
The estimate for 32 layers is an estimate.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from magnetar.convert.architecture import Architecture
from magnetar.convert.checkpoint import Checkpoint, TensorSpec
from magnetar.convert.layouts import find_layout
from magnetar.convert.safetensors import encode_header, read_safetensors
from magnetar.ranges import LocalFile

MIXTRAL = Architecture(
    dim=4096,
    n_layers=32,
    head_dim=128,
    hidden_dim=14336,
    n_heads=32,
    n_kv_heads=8,
    norm_eps=1e-5,
    vocab_size=32000,
    rope_theta=1e6,
    n_experts=8,
    experts_per_token=2,
)
CHUNK = 16 << 20


def write_checkpoint(path: Path, a: Architecture) -> None:
    """Random bfloat16 numbers of about the size of trained ones: sign and mantissa at random, a few exponents."""
    import numpy as np

    specs = []
    for laid in find_layout("mistral").tensors(a).values():
        nbytes = 2 * int(np.prod(laid.shape))
        specs.append(TensorSpec(laid.name, "BF16", laid.shape, 0, 0, nbytes))
    random = np.random.default_rng(0)
    block = (random.integers(0, 1 << 16, CHUNK // 2, np.uint16) & 0x80FF) | 0x3C00
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        stream.write(encode_header(specs, {}))
        for spec in specs:
            for start in range(0, spec.nbytes, CHUNK):
                stream.write(block.tobytes()[: spec.nbytes - start])
    partial.replace(path)


class Plain:
    """The file's tensors, whose names and arrangement are the publisher's already."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint, self.specs = checkpoint, checkpoint.specs

    def read(self, name: str) -> bytearray:
        return self._checkpoint.read(name)


def read_through(path: Path) -> dict[str, float]:
    buffer = bytearray(CHUNK)
    began = time.monotonic()
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return {"seconds": time.monotonic() - began}


def boot_from_disk(path: Path, a: Architecture, tokens: int) -> dict[str, float]:
    from magnetar.model.content import Survey
    from magnetar.model.examination import Task, examine

    ids = [3 + 7 * i % 31000 for i in range(tokens)]
    results: dict[str, float] = {}
    with LocalFile(path) as opened:
        weights = Plain(read_safetensors(opened))
        for name, look in (("forward", None), ("forward and content", Survey().look)):
            began = time.process_time()
            found = examine(weights, a, "BF16", Task(ids, decoded=4), look)
            results |= {name: found.seconds, f"{name}, cpu": time.process_time() - began}
    return results | {"peak resident bytes": peak_resident()}


def compute_alone(path: Path, a: Architecture, tokens: int) -> dict[str, float]:
    """One layer held as bytes in memory, run in the same way: what is left of a pass when nothing is read."""
    from magnetar.model.altered import Held
    from magnetar.model.examination import Task, examine

    ids = [3 + 7 * i % 31000 for i in range(tokens)]
    one = replace(a, n_layers=1)
    with LocalFile(path) as opened:
        whole = read_safetensors(opened)
        kept = [spec for name, spec in whole.specs.items() if not name.startswith("layers.") or "layers.0." in name]
        held = Held(Checkpoint("safetensors", whole.sources, kept))
    began = time.process_time()
    seconds = examine(held, one, "BF16", Task(ids, decoded=4, ahead=False)).seconds
    return {"seconds": seconds, "cpu": time.process_time() - began}


def peak_resident() -> float:
    """The process's largest resident set, in bytes. Files are read, not mapped, so nearly all of it is anonymous."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(fields["VmHWM"].split()[0]) * 1024


def drop(path: Path) -> None:
    """Ask the kernel to forget a file's pages."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def measure(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    path = arguments.work / f"mixtral-{arguments.layers}.safetensors"
    command = [sys.executable, __file__, "--work", str(arguments.work), "--layers", str(arguments.layers)]
    command += ["--tokens", str(arguments.tokens), "--part"]
    for cold in (True, False):
        for part in ("read", "boot", "compute") if not cold else ("read", "boot"):
            if cold:
                drop(path)
            done = subprocess.run([*command, part], check=True, capture_output=True, text=True)
            yield f"{part}, {'cold' if cold else 'warm'}", json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"), help="where the weights lie, and stay")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--part", choices=("read", "boot", "compute"))
    arguments = parser.parse_args()
    a = replace(MIXTRAL, n_layers=arguments.layers)
    path = arguments.work / f"mixtral-{arguments.layers}.safetensors"
    if arguments.part:
        parts = {
            "read": lambda: read_through(path),
            "boot": lambda: boot_from_disk(path, a, arguments.tokens),
            "compute": lambda: compute_alone(path, a, arguments.tokens),
        }
        print(json.dumps(parts[arguments.part]()))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_checkpoint(path, a)
    print(f"{path.stat().st_size / 1e9:.1f} GB, {arguments.layers} layers, {arguments.tokens} tokens")
    for name, numbers in measure(arguments):
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in numbers.items()), flush=True)


if __name__ == "__main__":
    main()
