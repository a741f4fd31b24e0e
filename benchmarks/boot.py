"""What streaming costs: layers of Mixtral 8x7B's real size, run from disk, against reading them and against computing.

    python benchmarks/boot.py [stream] [transformers] [decode] [--work FOLDER] [--layers 4] [--rounds 1]

``stream`` writes random bfloat16 weights in transformers' layout (2.9 GB a layer), and measures three things, each in a
process of its own, first with the file dropped from the page cache, then with it there: a plain sequential read; the
pass that ``magnetar boot`` makes, with reading ahead; and the same arithmetic on weights in memory. The ratio is that
of the pass to the slower of the other two. ``transformers`` loads and runs the same file, in bfloat16 on both sides,
with half as many layers, because it holds all of them in memory. ``decode`` is ``benchmarks/decode.py``. Without a name
all three are measured. The files are removed at the end. The number for 32 layers is an estimate.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from magnetar.byte_source import new_buffer
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.safetensors import encode_header
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import find_layout

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
DECODED = 4
Numbers = dict[str, float]


def write_checkpoint(folder: Path, a: Architecture) -> Path:
    """Random bfloat16 numbers of about the size of trained ones: sign and mantissa at random, a few exponents."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    if path.exists():
        return path
    laid = find_layout("hf").tensors(a).values()
    specs = [TensorSpec(entry.name, "BF16", entry.shape, 0, 0, 2 * int(np.prod(entry.shape))) for entry in laid]
    random = np.random.default_rng(0)
    block = ((random.integers(0, 1 << 16, CHUNK // 2, np.uint16) & 0x80FF) | 0x3C00).tobytes()
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        stream.write(encode_header(specs, {"format": "pt"}))
        for spec in specs:
            for start in range(0, spec.nbytes, CHUNK):
                stream.write(block[: spec.nbytes - start])
    (folder / "config.json").write_text(json.dumps(a.to_config("bfloat16")))
    partial.replace(path)
    return path


def choose_ids(tokens: int) -> list[int]:
    return [3 + 7 * i % 31000 for i in range(tokens)]


def read_through(folder: Path, _tokens: int, _dtype: str) -> Numbers:
    buffer = new_buffer(CHUNK)
    with Timed() as numbers, (folder / "model.safetensors").open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return numbers


def run_from_disk(folder: Path, tokens: int, dtype: str) -> Numbers:
    return stream(folder, tokens, dtype, content=False)


def run_with_content(folder: Path, tokens: int, dtype: str) -> Numbers:
    """As ``magnetar boot`` does by default: every tensor is digested and its numbers measured, in the same read."""
    return stream(folder, tokens, dtype, content=True)


def stream(folder: Path, tokens: int, dtype: str, *, content: bool) -> Numbers:
    from magnetar.convert.transform.view import view_as
    from magnetar.model.checks.content import Survey
    from magnetar.model.machine.device import choose_arithmetic
    from magnetar.model.run.measure_run import RunPlan, measure_run
    from magnetar.model.run.weights import open_for_a_pass

    task = RunPlan(choose_ids(tokens), decoded=DECODED, arithmetic=choose_arithmetic("cpu", dtype))
    with open_for_a_pass(folder) as source, Timed() as numbers:
        weights = view_as(source, "mistral")
        measure_run(weights, source.architecture, "BF16", task, Survey().add if content else None)
    return numbers


class Resident:
    """Weights in memory, returned without a copy. Every layer has the numbers of the first."""

    def __init__(self, folder: Path) -> None:
        from magnetar.convert.read.checkpoint_source import open_source
        from magnetar.convert.transform.view import view_as

        with open_source(folder) as source:
            weights, self.architecture = view_as(source, "mistral"), source.architecture
            self.specs = weights.specs
            self._contents = {name: weights.read(name) for name in weights.specs if not self._later(name)}

    @staticmethod
    def _later(name: str) -> bool:
        return name.startswith("layers.") and not name.startswith("layers.0.")

    def read(self, name: str) -> bytearray:
        parts = name.split(".")
        return self._contents[".".join(["layers", "0", *parts[2:]]) if self._later(name) else name]


def compute_alone(folder: Path, tokens: int, dtype: str) -> Numbers:
    from magnetar.model.machine.device import choose_arithmetic
    from magnetar.model.run.measure_run import RunPlan, measure_run

    weights = Resident(folder)
    task = RunPlan(choose_ids(tokens), decoded=DECODED, ahead=0, arithmetic=choose_arithmetic("cpu", dtype))
    with Timed() as numbers:
        measure_run(weights, weights.architecture, "BF16", task)
    return numbers


def run_transformers(folder: Path, tokens: int, _dtype: str) -> Numbers:
    """Load and run, in bfloat16: all layers are in memory."""
    import torch
    from transformers import MixtralForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with Timed() as numbers:
        model = MixtralForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        with torch.inference_mode():
            model(torch.tensor([choose_ids(tokens)]))
    return numbers


class Timed:
    """Wall and processor seconds, and the most memory seen in the meantime: anonymous, and mapped files included."""

    def __enter__(self) -> Numbers:
        self._numbers: Numbers = {"seconds": 0.0, "cpu": 0.0, "anonymous": 0.0, "resident": 0.0}
        self._began, self._cpu, self._over = time.monotonic(), time.process_time(), threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self._numbers

    def _watch(self) -> None:
        while True:
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            for name, field in (("anonymous", "RssAnon"), ("resident", "VmRSS")):
                self._numbers[name] = max(self._numbers[name], float(fields[field].split()[0]) * 1024)
            if self._over.wait(0.02):
                return

    def __exit__(self, *_exc: object) -> None:
        self._numbers["seconds"] = time.monotonic() - self._began
        self._numbers["cpu"] = time.process_time() - self._cpu
        self._over.set()
        self._watcher.join()


CONTENT = "boot with content"
PARTS: dict[str, Callable[[Path, int, str], Numbers]] = {
    "read": read_through,
    "boot": run_from_disk,
    CONTENT: run_with_content,
    "compute": compute_alone,
    "transformers": run_transformers,
}
IN_TURN = (("compute", False), ("read", True), ("boot", True), ("read", False), ("boot", False))
"""What is measured of streaming in each round, cold or warm."""


def drop(path: Path) -> None:
    """Ask the kernel to forget a file's pages."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def fill_cache(folder: Path) -> None:
    """Have all of the weights in the page cache, where there is room for them."""
    read_through(folder, 0, "")


def measure(part: str, folder: Path, tokens: int, dtype: str, *, cold: bool) -> Numbers:
    """One part in a process of its own."""
    if cold:
        drop(folder / "model.safetensors")
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    command += ["--tokens", str(tokens), "--dtype", dtype]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    numbers: Numbers = json.loads(done.stdout)
    state = "cold" if cold else "warm"
    memory = f"{numbers['anonymous'] / 1e9:.2f} GB anonymous, {numbers['resident'] / 1e9:.2f} GB resident"
    print(f"{part}, {dtype}, {state}: {numbers['seconds']:.1f} s, {numbers['cpu']:.1f} s of CPU, {memory}", flush=True)
    return numbers


def compare_streaming(arguments: argparse.Namespace) -> None:
    a = replace(MIXTRAL, n_layers=arguments.layers)
    with Written(arguments, a) as folder:
        common = folder, arguments.tokens, arguments.dtype
        took: dict[tuple[str, bool], list[float]] = {}
        for _ in range(arguments.rounds):
            for part, cold in IN_TURN:
                if (part, cold) == ("read", False):
                    fill_cache(folder)  # our pass past the cache left it as it was
                took.setdefault((part, cold), []).append(measure(part, *common, cold=cold)["seconds"])
        seconds = {key: statistics.median(values) for key, values in took.items()}
        content = measure(CONTENT, *common, cold=False)["seconds"]
        for cold in (True, False):
            ratio = seconds["boot", cold] / max(seconds["read", cold], seconds["compute", False])
            print(f"{'cold' if cold else 'warm'}: {ratio:.2f} of the slower of reading and computing", flush=True)
        print(f"digests and content in the same read: {content / seconds['boot', False]:.2f} times that")
        whole = seconds["boot", False] * MIXTRAL.n_layers / a.n_layers
        print(f"32 layers, as an estimate: {whole:.0f} s warm, without content")


def compare_transformers(arguments: argparse.Namespace) -> None:
    a = replace(MIXTRAL, n_layers=max(1, arguments.layers // 2))
    with Written(arguments, a) as folder:
        fill_cache(folder)
        ours = measure("boot", folder, arguments.tokens, "bf16", cold=False)
        theirs = measure("transformers", folder, arguments.tokens, "bf16", cold=False)
        print(f"{a.n_layers} layers, to transformers': time {ours['seconds'] / theirs['seconds']:.2f}, ", end="")
        print(f"anonymous memory {ours['anonymous'] / theirs['anonymous']:.2f}")


class Written:
    """A checkpoint of random numbers, removed at the end unless it is to be kept."""

    def __init__(self, arguments: argparse.Namespace, a: Architecture) -> None:
        self._folder, self._architecture = arguments.work / f"mixtral-{a.n_layers}", a
        self._keep = arguments.keep

    def __enter__(self) -> Path:
        size = write_checkpoint(self._folder, self._architecture).stat().st_size
        print(f"{size / 1e9:.1f} GB, {self._architecture.n_layers} layers of real size, random bfloat16", flush=True)
        return self._folder

    def __exit__(self, *_exc: object) -> None:
        if self._keep:
            return
        for path in list(self._folder.iterdir()):
            path.unlink()
        self._folder.rmdir()


def compare_decoding(_arguments: argparse.Namespace) -> None:
    subprocess.run([sys.executable, str(Path(__file__).with_name("decode.py"))], check=True)


def chosen(arguments: argparse.Namespace) -> Iterator[Callable[[argparse.Namespace], None]]:
    known = {"stream": compare_streaming, "transformers": compare_transformers, "decode": compare_decoding}
    yield from (known[name] for name in arguments.what or known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="stream|transformers|decode")
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"), help="where the weights are written")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1, help="of streaming, of which the median counts")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="what is computed in")
    parser.add_argument("--keep", action="store_true", help="leave the weights for the next run")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.folder, arguments.tokens, arguments.dtype)))
        return
    for compare in chosen(arguments):
        compare(arguments)


if __name__ == "__main__":
    main()
