"""Digests of 4 GiB: ours, beside ``b3sum``, ``sha256sum``, hashlib on one thread, and ``model_signing``.

``b3sum`` is Debian's package of that name; ``model_signing`` comes with the extra ``sign``. What is not there is left
out.

    python benchmarks/verify.py [--bytes N] [--runs N] [--files N] [--folder DIR]

One big file, and eight files of the same total. Every run is a process of its own, start-up included; they take turns,
and the fastest run of each counts. The files lie in the page cache, so that it is the code that is measured.
"""

import argparse
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from measuring import Run, measure

from magnetar.manifests.writing.create_manifest import create_manifest, to_toml

HASHLIB = """
import hashlib, sys
for path in sys.argv[2:]:
    with open(path, 'rb', buffering=0) as stream:
        hashlib.file_digest(stream, sys.argv[1])
"""

MODEL_SIGNING = """
import sys
from model_signing import hashing
hashing.hash(sys.argv[1])
"""

GOALS = {"BLAKE3 against b3sum": 0.75, "SHA-256 against hashlib's thread": 1.7}
"""At least so many times as fast. The second is for several files on two cores; one file has no two SHA-256 to run."""

MAX_RATIO_FOR_THREE = 1.2
"""For one file: several files keep the cores busy with one digest already."""
MAX_MEMORY_BYTES = 150e6


def write_files(folder: Path, count: int, size: int) -> list[Path]:
    folder.mkdir()
    block = os.urandom(1 << 20)
    paths = [folder / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        with path.open("wb") as stream:
            for index in range(size // count >> 20):
                stream.write(number.to_bytes(8) + index.to_bytes(8) + block[16:])
    return paths


def write_manifest(paths: list[Path], algorithms: tuple[str, ...], where: Path) -> Path:
    """The manifest of the files, with just these digests."""
    facts = {"name": "made-up", "title": "-", "publisher": "-", "licence": "-"}
    target = where / f"{paths[0].parent.name}-{'-'.join(algorithms)}.toml"
    target.write_text(to_toml(create_manifest(paths[0].parent, facts, algorithms)))
    return target


def contestants(paths: list[Path], scratch: Path) -> dict[str, list[str]]:
    names = [str(path) for path in paths]
    ours = [sys.executable, "-m", "magnetar", "verify", str(paths[0].parent), "--quiet", "--manifest"]
    commands = {
        f"magnetar {'+'.join(algorithms)}": [*ours, str(write_manifest(paths, algorithms, scratch))]
        for algorithms in (("blake3",), ("sha256",), ("md5",), ("sha256", "blake3", "md5"), ("bep52",))
    }
    commands |= {f"hashlib {name}": [sys.executable, "-c", HASHLIB, name, *names] for name in ("sha256", "md5")}
    commands |= {tool: [tool, *names] for tool in ("b3sum", "sha256sum") if shutil.which(tool)}
    if find_spec("model_signing"):
        commands["model_signing"] = [sys.executable, "-c", MODEL_SIGNING, str(paths[0].parent)]
    return commands


def report(title: str, taken: dict[str, list[Run]], size: int) -> dict[str, float]:
    print(f"\n{title:32} {'GB/s':>6} {'CPU s':>7} {'peak RSS MB':>12}")
    best = {name: min(runs, key=lambda run: run.seconds) for name, runs in taken.items()}
    for name, run in best.items():
        print(f"{name:32} {size / run.seconds / 1e9:6.2f} {run.cpu:7.2f} {max(r.rss for r in taken[name]) / 1e6:12.0f}")
    return {name: run.seconds for name, run in best.items()}


def conclude(best: dict[str, float], taken: dict[str, list[Run]], files: int) -> None:
    """Each goal, what was measured, and whether it was met."""
    ratios = {
        "SHA-256 against hashlib's thread": best["hashlib sha256"] / best["magnetar sha256"],
        "BLAKE3 against b3sum": best.get("b3sum", 0) / best["magnetar blake3"],
        "SHA-256 against sha256sum": best.get("sha256sum", 0) / best["magnetar sha256"],
        "SHA-256 against model_signing": best.get("model_signing", 0) / best["magnetar sha256"],
    }
    for name, ratio in ratios.items():
        goal = GOALS.get(name) if files > 1 or "BLAKE3" in name else None
        word = "" if goal is None else f"; the goal is {goal}: {'met' if ratio >= goal else 'MISSED'}"
        print(f"{name}: {ratio:.2f} times as fast{word}" if ratio else f"{name}: not measured, it is not installed")
    alone = max(best[f"magnetar {algorithm}"] for algorithm in ("sha256", "blake3", "md5"))
    three = best["magnetar sha256+blake3+md5"] / alone
    met = "met" if three <= MAX_RATIO_FOR_THREE else "MISSED"
    word = f"; the goal is {MAX_RATIO_FOR_THREE}: {met}" if files == 1 else ""
    print(f"three digests in one pass take {three:.2f} of the slowest alone{word}")
    memory = max(run.rss for name, runs in taken.items() if name.startswith("magnetar") for run in runs)
    word = "met" if memory <= MAX_MEMORY_BYTES else "MISSED"
    print(f"peak RSS {memory / 1e6:.0f} MB; the goal is {MAX_MEMORY_BYTES / 1e6:.0f}: {word}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--bytes", type=int, default=4 << 30)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--files", type=int, action="append", help="how many files; the default is one, then eight")
    arguments.add_argument("--folder", type=Path, help="where to work; the default is a temporary folder")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for count in chosen.files or (1, 8):
            paths = write_files(Path(name) / f"files{count}", count, chosen.bytes)
            commands = contestants(paths, Path(name))
            taken: dict[str, list[Run]] = {command: [] for command in commands}
            for _ in range(chosen.runs):
                for command, words in commands.items():
                    taken[command].append(measure(words))
            conclude(report(f"{count} file{'s' if count > 1 else ''}", taken, chosen.bytes), taken, count)
            shutil.rmtree(paths[0].parent)


if __name__ == "__main__":
    main()
