"""Digests of 4 GiB: ours, beside ``b3sum``, ``sha256sum`` and hashlib on one thread. Needs Debian's ``b3sum``.

    python benchmarks/verify.py [--bytes N] [--runs N] [--folder DIR]

One big file, and eight files of the same total. Every run is a process of its own, start-up included; they take turns,
and the fastest run of each counts. The files lie in the page cache, so that it is the code that is measured.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from magnetar.manifests.create import create_manifest, to_toml

HASHLIB = """
import hashlib, sys
for path in sys.argv[2:]:
    with open(path, 'rb', buffering=0) as stream:
        hashlib.file_digest(stream, sys.argv[1])
"""


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu: float
    rss: int


def measure(command: list[str]) -> Run:
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)[:200]} left with {process.returncode}")
    return Run(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


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
        for algorithms in (("blake3",), ("sha256",), ("md5",), ("sha256", "blake3", "md5"))
    }
    commands |= {f"hashlib {name}": [sys.executable, "-c", HASHLIB, name, *names] for name in ("sha256", "md5")}
    commands |= {tool: [tool, *names] for tool in ("b3sum", "sha256sum") if shutil.which(tool)}
    return commands


def report(title: str, taken: dict[str, list[Run]], size: int) -> dict[str, float]:
    print(f"\n{title:32} {'GB/s':>6} {'CPU s':>7} {'peak RSS MB':>12}")
    best = {name: min(runs, key=lambda run: run.seconds) for name, runs in taken.items()}
    for name, run in best.items():
        print(f"{name:32} {size / run.seconds / 1e9:6.2f} {run.cpu:7.2f} {max(r.rss for r in taken[name]) / 1e6:12.0f}")
    return {name: run.seconds for name, run in best.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--bytes", type=int, default=4 << 30)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--folder", type=Path, help="where to work; the default is a temporary folder")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for title, count in (("one file", 1), ("eight files", 8)):
            paths = write_files(Path(name) / f"files{count}", count, chosen.bytes)
            commands = contestants(paths, Path(name))
            taken: dict[str, list[Run]] = {command: [] for command in commands}
            for _ in range(chosen.runs):
                for command, words in commands.items():
                    taken[command].append(measure(words))
            best = report(title, taken, chosen.bytes)
            three = best["magnetar sha256+blake3+md5"]
            slowest = max(best[f"magnetar {algorithm}"] for algorithm in ("sha256", "blake3", "md5"))
            print(f"three digests in one pass take {three / slowest:.2f} of the slowest alone")
            print(
                f"SHA-256 is {best['hashlib sha256'] / best['magnetar sha256']:.2f} times as fast as hashlib's thread"
            )
            if "b3sum" in best:
                print(f"BLAKE3 is {best['b3sum'] / best['magnetar blake3']:.2f} times as fast as b3sum")
            shutil.rmtree(paths[0].parent)


if __name__ == "__main__":
    main()
