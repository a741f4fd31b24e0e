"""The names that people give to the parts of a large file that they split, and the order of the parts.

The order is that of the numbers in the names. Sorted as text, split10 would come before split2.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from magnetar.errors import CheckpointError

WEIGHTS = r"(?P<stem>.+\.(?:pth|pt|bin|safetensors|gguf|ckpt))"
PATTERNS = tuple(
    re.compile(WEIGHTS + ending)
    for ending in (
        r"[-._]split[-._]?(?P<number>\d{1,5})(?:\.\w+)?",
        r"[-._]part[-._]?(?P<number>\d{1,5})(?:[-._]?of[-._]?(?P<count>\d{1,5}))?",
        r"\.(?P<number>\d{2,5})",
        r"\.(?P<letters>[a-z]{2,3})",
    )
)
"""``X.pth-split0``, ``X.pth-split00.pth``; ``X.pth.part1of3``; ``X.pth.000``; ``X.pth.aa``, as split(1) makes them."""

NOT_PARTS = frozenset({"md5", "sig", "asc", "sum", "tmp", "bak", "old", "txt", "log"})
"""Endings of two or three letters that other files beside the weights have."""


def split_stem(name: str) -> str:
    """The name of the whole file, if ``name`` is the name of a part; else empty."""
    match = _match(name)
    return match["stem"] if match else ""


def find_split(names: Iterable[str]) -> list[str]:
    """The names of the parts of the one split file among ``names``, in order; none if no name is that of a part.

    Raises ``CheckpointError`` if a part is missing, or if there are parts of several files.
    """
    found = {name: match for name in names if (match := _match(name))}
    stems = sorted({match["stem"] for match in found.values()})
    if not stems:
        return []
    numbers = {_number(match): name for name, match in found.items()}
    if len(stems) > 1 or len(numbers) != len(found):
        raise CheckpointError(
            f"there are parts of several split files: {', '.join(sorted(found)[:4])}",
            hint="keep the parts of one checkpoint in a folder of their own",
        )
    _check_complete(stems[0], sorted(numbers), {int(m["count"]) for m in found.values() if m.groupdict().get("count")})
    return [numbers[number] for number in sorted(numbers)]


def _match(name: str) -> re.Match[str] | None:
    match = next((match for pattern in PATTERNS if (match := pattern.fullmatch(name))), None)
    return None if match is None or match.groupdict().get("letters") in NOT_PARTS else match


def _number(match: re.Match[str]) -> int:
    """The number of a part. Letters count from ``aa``, which is 0."""
    letters = match.groupdict().get("letters")
    if letters is None:
        return int(match["number"])
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("a")
    return number


def _check_complete(stem: str, numbers: Sequence[int], counts: set[int]) -> None:
    first = min(numbers[0], 1)
    wanted = range(first, first + max(counts | {numbers[-1] - first + 1}))
    missing = sorted(set(wanted) - set(numbers))
    if missing or len(counts) > 1:
        raise CheckpointError(
            f"{stem}: part {missing[0] if missing else ''} is missing; there are {len(numbers)}",
            hint="fetch the release again",
            path=Path(stem),
        )
