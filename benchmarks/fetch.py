"""Fetching 1 GiB by its .torrent over 127.0.0.1: ours, bare libtorrent with the best settings, aria2c, and ``cp``.

    python benchmarks/fetch.py [--bytes N] [--runs N] [--folder DIR]

Each run is a process of its own, start-up included, and comes after a copy of the same bytes that is not measured: on
a virtual machine the one who is first to fill memory pays for it. The four take turns, in another order each round, and
the best run of each counts, since the same program varies twofold. CPU seconds are those of the best run, user
and system; peak memory is the largest resident set of any run. aria2c (Debian: ``aria2``) is left out, and said to be,
where it is not installed.
"""

import argparse
import contextlib
import http.server
import json
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import libtorrent as lt
from measuring import Run, measure

from magnetar.files import STATE_FOLDER, replace_file
from magnetar.manifests.folder.layout import KEPT_TORRENT

FILES = 4
PIECE_LENGTH = 1 << 20
PATIENCE = 120.0  # seconds for one run; a client that finds nobody would wait for ever
BARE = """
import os, sys, libtorrent as lt
torrent, folder, port = sys.argv[1:]
session = lt.session({'listen_interfaces': '127.0.0.1:0', 'enable_dht': False, 'enable_lsd': False,
    'enable_upnp': False, 'enable_natpmp': False, 'enable_ip_notifier': False, 'webtorrent_stun_server': '',
    'allow_multiple_connections_per_ip': True, 'enable_outgoing_utp': False, 'max_queued_disk_bytes': 262144,
    'aio_threads': 4, 'hashing_threads': min(4, os.cpu_count() or 1), 'tick_interval': 100})
wanted = lt.load_torrent_file(torrent)
wanted.save_path, wanted.peers = folder, [('127.0.0.1', int(port))]
wanted.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
handle = session.add_torrent(wanted)
while not handle.status().is_seeding:
    session.wait_for_alert(100)
    session.pop_alerts()
"""


@contextlib.contextmanager
def seeder(folder: Path) -> Iterator[int]:
    """Our own seeder, in a process of its own: its port."""
    command = [sys.executable, "-m", "magnetar", "seed", str(folder), "--loopback", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        result = json.loads(process.stdout.readline())["result"]
        try:
            yield result["port"]
        finally:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def tracker(port: int) -> Iterator[str]:
    """A tracker that knows one peer: aria2c takes addresses from nobody else."""
    peers = socket.inet_aton("127.0.0.1") + struct.pack(">H", port)
    answer = b"d8:intervali60e5:peers%d:%se" % (len(peers), peers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_words: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/announce"
    server.shutdown()


def write_release(folder: Path, size: int) -> None:
    folder.mkdir()
    block = random.Random(1).randbytes(1 << 20)
    for number in range(FILES):
        with (folder / f"part{number}.bin").open("wb") as stream:
            for index in range(size // FILES >> 20):
                stream.write(struct.pack(">QQ", number, index) + block[16:])


def publish(folder: Path) -> None:
    """Give the release a torrent of version 1: aria2c takes another infohash for a hybrid one, and finds nobody."""
    entries = sorted(lt.list_files(str(folder), flags=0), key=lambda entry: entry.filename)
    draft = lt.create_torrent(entries, PIECE_LENGTH, lt.create_torrent.v1_only)
    lt.set_piece_hashes(draft, str(folder.parent), lambda _piece: None)
    replace_file(folder / STATE_FOLDER / KEPT_TORRENT, lt.bencode(draft.generate()))


def contestants(scratch: Path, release: Path, port: int, announce: str) -> dict[str, list[str]]:
    """The command of each, all of them writing to ``scratch/down``."""
    down, torrent = str(scratch / "down"), scratch / "release.torrent"
    document = lt.bdecode((release / STATE_FOLDER / KEPT_TORRENT).read_bytes())
    torrent.write_bytes(lt.bencode({**document, b"announce": announce.encode()}))
    ours = [sys.executable, "-m", "magnetar", "fetch", str(torrent), "--dir", down, "--loopback", "--quiet"]
    commands = {
        "magnetar": [*ours, "--peer", f"127.0.0.1:{port}"],
        "libtorrent": [sys.executable, "-c", BARE, str(torrent), down, str(port)],
        "cp": ["cp", "-r", str(release), down],
    }
    if shutil.which("aria2c"):
        options = [
            "--dir",
            down,
            "--seed-time=0",
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--file-allocation=none",
        ]
        commands["aria2c"] = ["aria2c", *options, "--interface=127.0.0.1", "--quiet", str(torrent)]
    return commands


def fill(scratch: Path, command: list[str]) -> Run:
    """Run a command that writes to ``scratch/down``, and remove what it wrote."""
    (scratch / "down").mkdir()
    run = measure(command, PATIENCE)
    shutil.rmtree(scratch / "down")
    return run


def compare(commands: dict[str, list[str]], scratch: Path, runs: int) -> dict[str, list[Run]]:
    taken: dict[str, list[Run]] = {name: [] for name in commands}
    names = list(commands)
    for number in range(runs):
        # Another order each round, so that nobody always comes after the same one.
        for name in random.Random(number).sample(names, len(names)):
            fill(scratch, commands["cp"])
            taken[name].append(fill(scratch, commands[name]))
            print(f"\r  round {number + 1} of {runs}: {name:<12}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return taken


def report(taken: dict[str, list[Run]], size: int) -> None:
    best = {name: min(runs, key=lambda run: run.seconds) for name, runs in taken.items()}
    print(f"{'':12} {'best MB/s':>10} {'CPU s':>7} {'peak RSS MB':>12}   all runs, s")
    for name, runs in taken.items():
        everything = " ".join(f"{run.seconds:.2f}" for run in runs)
        peak = max(run.rss for run in runs) / 1e6
        print(f"{name:12} {size / best[name].seconds / 1e6:10.0f} {best[name].cpu:7.2f} {peak:12.0f}   {everything}")
    for other in ("libtorrent", "aria2c"):
        if other in best:
            rate = best[other].seconds / best["magnetar"].seconds
            cpu = min(r.cpu for r in taken["magnetar"]) / min(r.cpu for r in taken[other])
            print(f"magnetar to {other}: {rate:.2f} of its rate, {cpu:.2f} of its CPU seconds")
    if "aria2c" not in best:
        print("aria2c is not installed, and was left out")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bytes", type=int, default=1 << 30)
    arguments.add_argument("--runs", type=int, default=9)
    arguments.add_argument("--folder", type=Path, help="where to work; the default is a temporary folder")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        scratch = Path(name)
        write_release(scratch / "release", chosen.bytes)
        publish(scratch / "release")
        with seeder(scratch / "release") as port, tracker(port) as announce:
            commands = contestants(scratch, scratch / "release", port, announce)
            report(compare(commands, scratch, chosen.runs), chosen.bytes)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
