"""The journal beside a converted checkpoint: which conversion it is, and which of its files are done."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from magnetar.files import STATE_FOLDER, replace_file

CONVERSION_FILE = "conversion.json"
FORMAT = 1
MAX_JOURNAL_BYTES = 16 << 20
MAX_NAME = 255
"""Bytes of a file's name. No file system that is in use takes more."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of the output as it was written. ``sha256`` is lower-case hex; empty if no digest was taken."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion that was begun, and maybe done.

    ``plan`` is the digest that tells it from any other conversion. ``files`` are the files that were written whole.
    ``begun`` are the beginnings of files that were not: each ends with a whole tensor, and has that size and digest.
    ``done``: nothing is left to do. Whether the output is what the source becomes is not noted: a note proves nothing.
    """

    plan: str
    release: str
    target: str
    files: Mapping[str, WrittenFile] = field(default_factory=dict)
    begun: Mapping[str, WrittenFile] = field(default_factory=dict)
    done: bool = False


def record_conversion(folder: Path, conversion: Conversion) -> None:
    """Write the journal, atomically. Raises ``NoSpace`` or ``DiskError``."""
    document = {
        "format": FORMAT,
        "plan": conversion.plan,
        "release": conversion.release,
        "target": conversion.target,
        "done": conversion.done,
        "files": _to_document(conversion.files),
        "begun": _to_document(conversion.begun),
    }
    replace_file(folder / STATE_FOLDER / CONVERSION_FILE, json.dumps(document, indent=1).encode())


def read_conversion(folder: Path) -> Conversion | None:
    """The journal of a folder; None if there is none that can be read. It is not proven: anybody can write one."""
    path = folder / STATE_FOLDER / CONVERSION_FILE
    try:
        if path.is_symlink() or path.stat().st_size > MAX_JOURNAL_BYTES:
            return None
        noted = json.loads(path.read_bytes())
        plan, release, target, done = noted["plan"], noted["release"], noted["target"], noted["done"]
        files, begun = _read_files(noted["files"]), _read_files(noted.get("begun", {}))
        sound = noted["format"] == FORMAT and all(isinstance(text, str) for text in (plan, release, target))
        return Conversion(plan, release, target, files, begun, done) if sound and isinstance(done, bool) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _to_document(files: Mapping[str, WrittenFile]) -> dict[str, dict[str, object]]:
    return {name: {"size": file.size, "sha256": file.sha256} for name, file in files.items()}


def _read_files(noted: Mapping[str, Mapping[str, object]]) -> dict[str, WrittenFile]:
    """Raises ``ValueError``, ``KeyError``, ``TypeError`` or ``AttributeError`` if it is no such table."""
    files = {}
    for name, file in noted.items():
        size, sha256 = file["size"], file["sha256"]
        if type(size) is not int or size < 0 or not isinstance(sha256, str) or not _is_plain(name):
            raise ValueError(name)
        files[name] = WrittenFile(size, sha256)
    return files


def _is_plain(name: str) -> bool:
    """Whether it is the name of a file in the folder itself, which any file system takes."""
    return name not in ("", "..") and name.isprintable() and Path(name).name == name and len(name.encode()) <= MAX_NAME
