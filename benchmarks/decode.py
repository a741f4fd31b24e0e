"""Tokens a second of the bundled release, written one by one, beside transformers and llama.cpp on the same weights.

    python benchmarks/decode.py [--tokens 256] [--rounds 5] [--threads 1]

All three compute in float32 with the same number of threads, continue the same 32 tokens, and take the likeliest token
each time. Each is loaded and warmed up in a process of its own, and they take turns. A ratio above 1 means that
Magnetar is the faster.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

PROMPT = 32
PEERS = ("magnetar", "transformers", "llama.cpp")


def read_prompt() -> list[int]:
    from magnetar.model.architecture.tokenizer import Tokenizer
    from magnetar.model.bundled import bundled_release, smoke_text

    return Tokenizer.open(bundled_release() / "tokenizer.model").encode(smoke_text().text[:1000])[:PROMPT]


def load_ours(_folder: Path, threads: int) -> Callable[[int], int]:
    import torch

    from magnetar.convert.read.checkpoint_source import open_source
    from magnetar.convert.transform.view import view_as
    from magnetar.model.bundled import bundled_release
    from magnetar.model.run.generate import generate_greedily
    from magnetar.model.run.load import load_model

    torch.set_num_threads(threads)
    with open_source(bundled_release()) as source:
        model = load_model(view_as(source, "mistral"), source.architecture)
    prompt = read_prompt()
    return lambda count: len(generate_greedily(model, prompt, count))


def load_transformers(folder: Path, threads: int) -> Callable[[int], int]:
    import torch
    from transformers import MixtralForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(threads)
    model = MixtralForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32)
    prompt = torch.tensor([read_prompt()])

    def write(count: int) -> int:
        with torch.inference_mode():
            ids = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=count,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        return int(ids.shape[1]) - PROMPT

    return write


def load_llama_cpp(folder: Path, threads: int) -> Callable[[int], int]:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(folder / "gguf" / "model.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 512, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server, prompt = xllamacpp.Server(parameters), read_prompt()

    def write(count: int) -> int:
        request = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        return int(server.handle_completions(request)["usage"]["completion_tokens"])

    return write


LOADERS = {"magnetar": load_ours, "transformers": load_transformers, "llama.cpp": load_llama_cpp}


def take_turns(peer: str, folder: Path, tokens: int, threads: int) -> None:
    """One peer's process: write once for every line on stdin, and say how many tokens a second that were."""
    write = LOADERS[peer](folder, threads)
    write(16)
    print("READY", flush=True)
    for _line in sys.stdin:
        began = time.perf_counter()
        written = write(tokens)
        print("RATE", written / (time.perf_counter() - began), flush=True)


def wait_for(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith(word)), None)
    if line is None:
        raise SystemExit(f"{process.args!r} ended")
    return line.removeprefix(word).strip()


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    command = [sys.executable, __file__, "--folder", str(folder), "--tokens", str(arguments.tokens)]
    command += ["--threads", str(arguments.threads), "--peer"]
    pipe = subprocess.PIPE
    running = {
        peer: subprocess.Popen([*command, peer], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        for peer in PEERS
    }
    rates: dict[str, list[float]] = {peer: [] for peer in PEERS}
    try:
        for process in running.values():
            wait_for(process, "READY")
        for _ in range(arguments.rounds):
            for peer, process in running.items():
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
                rates[peer].append(float(wait_for(process, "RATE")))
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        take_turns(arguments.peer, arguments.folder, arguments.tokens, arguments.threads)
        return
    from magnetar.convert.write.convert import convert
    from magnetar.convert.write.convert_request import ConvertRequest
    from magnetar.model.bundled import bundled_release

    with tempfile.TemporaryDirectory() as scratch:
        convert(ConvertRequest(bundled_release(), Path(scratch) / "hf", target="hf"))
        convert(ConvertRequest(bundled_release(), Path(scratch) / "gguf", target="gguf", dtype="f32"))
        rates = measure(Path(scratch), arguments)
    print(f"{arguments.tokens} tokens, {arguments.threads} threads, f32, median of {arguments.rounds} (least, most)")
    for peer, found in rates.items():
        print(f"{peer}: {median(found):,.0f} tokens/s ({min(found):,.0f}, {max(found):,.0f})")
    for peer in PEERS[1:]:
        ratio = median(one / other for one, other in zip(rates["magnetar"], rates[peer], strict=True))
        print(f"against {peer}: {ratio:.2f}")


if __name__ == "__main__":
    main()
