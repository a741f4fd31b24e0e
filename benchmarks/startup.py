"""What ``--help``, a small ``verify`` and ``import`` cost, beside ``hf --help`` (huggingface_hub).

CPU seconds of a process of its own, user and system: the smallest of several runs, taken in turn. ``verify`` reads the
7 MB of the bundled release. The cost of the import is that of a Python that imports ``Release``, less that of one that
imports nothing.
"""

import sys
from pathlib import Path

from measuring import measure

RUNS = 7
BIN = Path(sys.executable).parent
RELEASE = Path(__file__).parents[1] / "model" / "release" / "austen-moe"
COMMANDS = {
    "magnetar --help": [str(BIN / "magnetar"), "--help"],
    "hf --help": [str(BIN / "hf"), "--help"],
    "magnetar verify": [str(BIN / "magnetar"), "verify", str(RELEASE), "--quiet"],
    "import Release": [sys.executable, "-c", "from magnetar import Release"],
    "import nothing": [sys.executable, "-c", ""],
}


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            taken[name].append(measure(command).cpu)
    best = {name: min(seconds) for name, seconds in taken.items()}
    for name, seconds in best.items():
        print(f"{name:18} {seconds:.3f} s of CPU")
    print(f"help, to hf's      {best['magnetar --help'] / best['hf --help']:.2f}")
    print(f"the import alone   {1000 * (best['import Release'] - best['import nothing']):.0f} ms")


if __name__ == "__main__":
    main()
