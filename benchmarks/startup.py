"""How long ``--help`` takes, beside ``hf --help`` (huggingface_hub, which transformers brings).

CPU seconds of a process of its own, user and system: the smallest of several runs, the two taken in turn.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

RUNS = 7
BIN = Path(sys.executable).parent
COMMANDS = {"magnetar --help": [BIN / "magnetar", "--help"], "hf --help": [BIN / "hf", "--help"]}


def cpu_seconds(command: list[Path | str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"COLUMNS": "100"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            taken[name].append(cpu_seconds(command))
    best = {name: min(seconds) for name, seconds in taken.items()}
    for name, seconds in best.items():
        print(f"{name:18} {seconds:.3f} s of CPU")
    ours, theirs = best.values()
    print(f"ratio              {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
