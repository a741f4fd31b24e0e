"""Words for the screen: foreign text made safe, amounts and durations made short."""

import re
import string

from rich.filesize import decimal


def clean(text: object) -> str:
    """Foreign text, made safe to print: control and direction-changing characters become visible escapes.

    It is shown through ``rich.text.Text``, so that markup in it means nothing.
    """
    safe = (one if one == "\n" or one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))
    return "".join(safe)


HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
MARKS = re.compile(f"([{re.escape(string.punctuation.translate(str.maketrans('', '', '&<>,-./;?%')))}])")
BEGINNINGS = re.compile(r"^([-+]|\d+(?=[.)]))|(?<=www)(?=\.)", re.IGNORECASE)


def markdown(text: object) -> str:
    """Foreign text as one line of Markdown that reads as just that text: no markup, no HTML, no link."""
    line = " ".join(clean(text).split())
    marked = MARKS.sub(r"\\\1", line).translate(HTML)
    return BEGINNINGS.sub(_break_up, marked)


def _break_up(match: re.Match[str]) -> str:
    """A hyphen or a number that would begin a list, and a name that would become a link by itself, do neither."""
    begun = match[0]
    return f"{begun}\\" if begun.isdigit() or not begun else f"\\{begun}"


def amount(count: int, unit: str) -> str:
    """``count`` in its unit: bytes as 8.4 GB, everything else as a number and a word."""
    return decimal(count) if unit == "B" else f"{count:,} {unit}"


def several(number: int, noun: str) -> str:
    """``1 peer``, ``12 peers``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def binary(count: int) -> str:
    """Bytes as pieces and tensors are measured: 2 MiB, 117.5 MiB, 700 bytes."""
    for scale, letter in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= scale:
            return f"{count / scale:.1f}".removesuffix(".0") + f" {letter}"
    return f"{count} bytes"


def pace(count: float, seconds: float, unit: str) -> str:
    """``63.0 MB/s``; slow steps get a digit more: ``1.3 layers/s``."""
    rate = count / max(seconds, 1e-3)
    return f"{rate:.1f} {unit}/s" if unit != "B" and rate < 100 else f"{amount(int(rate), unit)}/s"


def clock(seconds: float) -> str:
    """A duration: 0.4 s, 7 s, 2:13, 1:02:45."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def count(number: int | None) -> str:
    """A large number as people say it: 46.7 B, 3.61 M; ``unknown`` where it is not known."""
    if number is None:
        return "unknown"
    for scale, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= scale:
            return f"{number / scale:.3g} {letter}"
    return str(number)
