"""The note in ``.magnetar/origin.json`` that says which torrent a folder was fetched from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from magnetar.files import STATE_FOLDER, replace_file

ORIGIN_FILE = "origin.json"
MAX_ORIGIN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """The torrent that a folder was fetched from: its name, and its infohashes as lower-case hex, empty if it has none.

    ``complete`` says that every piece was checked when the download ended.
    """

    name: str
    infohash_v1: str
    infohash_v2: str
    complete: bool


def record_origin(folder: Path, origin: Origin) -> None:
    """Write the note. Raises ``NoSpace`` or ``DiskError``."""
    replace_file(folder / STATE_FOLDER / ORIGIN_FILE, json.dumps(asdict(origin), indent=1).encode())


def read_origin(folder: Path) -> Origin | None:
    """Read the note; None if there is none, or none that can be understood."""
    path = folder / STATE_FOLDER / ORIGIN_FILE
    try:
        if path.stat().st_size > MAX_ORIGIN_BYTES:
            return None
        noted = json.loads(path.read_bytes())
        texts = (noted["name"], noted["infohash_v1"], noted["infohash_v2"])
        if not all(isinstance(text, str) for text in texts) or not isinstance(noted["complete"], bool):
            return None
        return Origin(*texts, complete=noted["complete"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
