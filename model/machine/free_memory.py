"""How much memory a machine has for us, as Linux tells it; elsewhere it is not known. No torch here."""

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Control groups, version 2, as a container sees them: for all its processes and the page cache, which gives way."""


def available_memory() -> int | None:
    """Bytes to be had without swapping (``MemAvailable``), and no more than a container may have; None if unknown."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(MEMINFO), re.MULTILINE)
    if found is None:
        return None
    limit = _read(GROUP_LIMIT).strip()
    left = int(found[1]) * 1024
    return min(left, int(limit)) if limit.isdigit() else left


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
