"""How much memory the machine has left, and how much this process took, as Linux tells it. No torch here."""

import re
import sys
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Control groups, version 2, as a container sees them. The limit also counts its page cache, which gives way."""


def available_memory() -> int | None:
    """Bytes to be had without swapping (``MemAvailable``), and no more than a container may have; None if unknown."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(MEMINFO), re.MULTILINE)
    if found is None:
        return None
    limit = _read(GROUP_LIMIT).strip()
    left = int(found[1]) * 1024
    return min(left, int(limit)) if limit.isdigit() else left


def peak_memory() -> int | None:
    """The largest resident set of this process so far, in bytes; None where the platform does not say."""
    status = _read(Path("/proc/self/status"))
    if not status:
        return _ask_resources()
    # getrusage on Linux begins with the size of the process that started this one
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _ask_resources() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
