"""A release to publish, and a seeder of it on 127.0.0.1 that lives as long as a ``with`` block."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from magnetar.fetch.options import FetchOptions, SeedOptions
from magnetar.fetch.seed import Seeding, seed

NEARBY = FetchOptions(loopback=True, metadata_timeout=20, stall_timeout=20)
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


@contextmanager
def serve(folder: Path, **options: object) -> Iterator[Seeding]:
    """Seed ``folder`` from a thread until the block ends."""
    listening, stop = threading.Event(), threading.Event()
    seen: list[Seeding] = []
    failed: list[BaseException] = []

    def told(seeding: Seeding) -> None:
        seen.append(seeding)
        listening.set()

    def work() -> None:
        try:
            seed(folder, options=SeedOptions(loopback=True, **options), listening=told, stop=stop.is_set)  # type: ignore[arg-type]
        except BaseException as error:  # handed on to the test's own thread
            failed.append(error)
            listening.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert listening.wait(30), "the seeder did not start"
        if failed:
            raise failed[0]
        yield seen[0]
    finally:
        stop.set()
        thread.join(30)
