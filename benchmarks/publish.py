"""Publishing 2 GiB: ours, beside what it takes otherwise, libtorrent's own maker of torrents and ``sha256sum``.

    python benchmarks/publish.py [--bytes N] [--runs N] [--folder DIR]

One big file, and eight files of the same total. Every run is a process of its own, start-up included; they take turns,
and the fastest run of each counts. The files lie in the page cache, so that it is the code that is measured. Ours also
computes BLAKE3, and writes the manifest.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from measuring import Run, measure

LIBTORRENT = """
import sys
from pathlib import Path
import libtorrent as lt
folder = Path(sys.argv[1])
paths = sorted(folder.glob('*.bin'))
entries = [lt.create_file_entry(f'{folder.name}/{path.name}', path.stat().st_size) for path in paths]
draft = lt.create_torrent(entries, 0, int(sys.argv[2]))
lt.set_piece_hashes(draft, str(folder.parent), lambda _piece: None)
lt.bencode(draft.generate())
"""
FLAGS = {"hybrid": "0", "v2": "32", "v1": "64"}


def write_files(folder: Path, count: int, size: int) -> Path:
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(count):
        with (folder / f"{number}.bin").open("wb") as stream:
            for index in range(size // count >> 20):
                stream.write(number.to_bytes(8) + index.to_bytes(8) + block[16:])
    return folder


def contestants(folder: Path, out: Path) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "magnetar", "publish", str(folder), "--out", str(out), "--no-tensors", "--quiet"]
    commands = {f"magnetar {version}": [*ours, "--torrent-version", version] for version in FLAGS}
    theirs = [sys.executable, "-c", LIBTORRENT, str(folder)]
    commands |= {f"libtorrent {version}": [*theirs, flag] for version, flag in FLAGS.items()}
    return commands | {"sha256sum": ["sha256sum", *map(str, sorted(folder.glob("*.bin")))]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--bytes", type=int, default=2 << 30)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--folder", type=Path, help="where to work; the default is a temporary folder")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        for title, count in (("one file", 1), ("eight files", 8)):
            folder = write_files(Path(name) / f"files{count}", count, chosen.bytes)
            commands = contestants(folder, Path(name) / f"out{count}")
            taken: dict[str, list[Run]] = {command: [] for command in commands}
            for _ in range(chosen.runs):
                for command, words in commands.items():
                    taken[command].append(measure(words))
            best = {command: min(run.seconds for run in runs) for command, runs in taken.items()}
            print(f"\n{title:20} {'GB/s':>6} {'CPU s':>7} {'peak RSS MB':>12}")
            for command, runs in taken.items():
                cpu, rss = min(run.cpu for run in runs), max(run.rss for run in runs)
                print(f"{command:20} {chosen.bytes / best[command] / 1e9:6.2f} {cpu:7.2f} {rss / 1e6:12.0f}")
            for version in FLAGS:
                both = best[f"libtorrent {version}"] + best["sha256sum"]
                print(f"{version}: {both / best[f'magnetar {version}']:.2f} times as fast as libtorrent and sha256sum")
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
