"""What all results are drawn with: safe text, short amounts and durations, tables, notes and verdicts."""

import re
import string
from typing import TYPE_CHECKING, Any

from rich.containers import Lines
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from magnetar.characters import escape_hidden

if TYPE_CHECKING:
    from rich.console import Console

GOOD, BAD, UNSURE = "bold green", "bold red", "bold yellow"
"""The styles of a verdict."""

MAX_ROWS = 40
"""Rows that are shown of what may be thousands."""


INDENT = "    "
"""Before each further line of a text that was folded."""


class Document(Text):
    """A text that is written as it is, and whose lines are never folded: a file that is sent to stdout."""


def clean(text: object) -> str:
    """Foreign text as one line that is safe to print: see ``escape_hidden``. Whoever wants lines splits them first.

    Every foreign text on its way to a screen, a log or a page passes here. Show it through ``Hanging``.
    """
    return escape_hidden(str(text))


class Hanging(Text):
    """Text whose further lines are indented where it must be folded.

    A foreign text could else be just so long that its last words stand at the beginning of a line, as if they were
    ours.
    """

    def wrap(self, console: "Console", width: int, **how: Any) -> Lines:
        whole = super().wrap(console, width, **how)
        if len(whole) < 2 or width <= 2 * len(INDENT):
            return whole
        first, *others = super().wrap(console, width - len(INDENT), **how)
        return Lines([first, *(Text(INDENT).append_text(line) for line in others)])


def foreign(text: object, style: str = "", **how: Any) -> Text:
    """Foreign text, clean and hanging. ``how`` are the arguments of ``rich.text.Text``."""
    return Hanging(clean(text), style=style, **how)


HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
MARKDOWN_MARKS = re.compile(f"([{re.escape(string.punctuation.translate(str.maketrans('', '', '&<>,-./;?%')))}])")
LIST_OR_LINK_BEGINNINGS = re.compile(r"^([-+]|\d+(?=[.)]))|(?<=www)(?=\.)", re.IGNORECASE)


def markdown(text: object) -> str:
    """Foreign text as one line of Markdown that reads as just that text: no markup, no HTML, no link."""
    line = clean(" ".join(str(text).split()))
    marked = MARKDOWN_MARKS.sub(r"\\\1", line).translate(HTML)
    return LIST_OR_LINK_BEGINNINGS.sub(_escape_beginning, marked)


def _escape_beginning(match: re.Match[str]) -> str:
    """Escape what would begin a list (a hyphen, a number), and the dot of a ``www.`` that would become a link."""
    beginning = match[0]
    return f"{beginning}\\" if beginning.isdigit() or not beginning else f"\\{beginning}"


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


def new_table(*headings: str) -> Table:
    """A table without lines. A heading that begins with ``>`` is above numbers: its column is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def verdict(word: str, style: str, rest: str) -> Text:
    """The last line of a result: a word or two in colour, then what they are about."""
    return Hanging.assemble((word, style), "  ", clean(rest))


def note(text: str) -> Text:
    """A line of less weight, dim and indented."""
    return Hanging("  " + clean(text), style="dim")
