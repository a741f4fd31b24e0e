"""A release to publish, and a seeder of it on 127.0.0.1 that lives as long as a ``with`` block."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libtorrent as lt

from magnetar.fetch.request.options import FetchOptions, SeedOptions
from magnetar.fetch.seed.find_torrent import LinkOf, unknown
from magnetar.fetch.seed.seed import Seeding, seed_all
from magnetar.files import STATE_FOLDER
from tests.patience import PATIENCE

NEARBY = FetchOptions(loopback=True, metadata_timeout=PATIENCE, stall_timeout=PATIENCE)
SIZES = {
    "RELEASE": 700,
    "consolidated.00.pth": 3_000_017,
    "params.json": 120,
    "tok/tokenizer.model": 490_000,
    "empty": 0,
}


def write_release(folder: Path, sizes: dict[str, int] = SIZES, seed: int = 7) -> Path:
    """Files of pseudo-random bytes, the same in every run."""
    source = random.Random(seed)
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(size))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The payload below a folder: relative path to bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != ".magnetar"
    }


HYBRID, V2, V1 = 0, 32, 64
"""libtorrent's flags for the versions of the protocol."""


def publish(folder: Path, version: int, piece_length: int = 16384, *, private: bool = False) -> bytes:
    """Put a torrent of that version where the seeder looks for the folder's own."""
    paths = sorted(path.relative_to(folder.parent).as_posix() for path in folder.rglob("*") if path.is_file())
    entries = [lt.create_file_entry(path, (folder.parent / path).stat().st_size) for path in paths]
    draft = lt.create_torrent(entries, piece_length, version)
    draft.set_priv(private)
    lt.set_piece_hashes(draft, str(folder.parent), lambda _piece: None)
    torrent = bytes(lt.bencode(draft.generate()))
    (folder / STATE_FOLDER).mkdir(exist_ok=True)
    (folder / STATE_FOLDER / "release.torrent").write_bytes(torrent)
    return torrent


def flip_byte(path: Path, place: int) -> None:
    """Change one bit of a file, and nothing else."""
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


@contextmanager
def serve(folder: Path, *, link_of: LinkOf = unknown, **options: object) -> Iterator[Seeding]:
    """Seed ``folder`` from a thread until the block ends."""
    listening, stop = threading.Event(), threading.Event()
    seen: list[Seeding] = []
    failed: list[BaseException] = []

    def told(seeding: Seeding) -> None:
        seen.append(seeding)
        listening.set()

    def work() -> None:
        try:
            chosen = SeedOptions(**{"loopback": True, **options})  # type: ignore[arg-type]
            seed_all([folder], options=chosen, listening=told, link_of=link_of, stop=stop.is_set)
        except BaseException as error:  # handed on to the test's own thread
            failed.append(error)
            listening.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert listening.wait(PATIENCE), "the seeder did not start"
        if failed:
            raise failed[0]
        yield seen[0]
    finally:
        stop.set()
        thread.join(PATIENCE)
