"""How long ``--help`` takes, beside ``hf --help`` (huggingface_hub, which transformers brings), and a small ``verify``.

CPU seconds of a process of its own, user and system: the smallest of several runs, taken in turn. What is verified are
the 7 MB of the bundled release.
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


if __name__ == "__main__":
    main()
