"""Words for the screen: foreign text made safe, amounts and durations made short."""

import unicodedata

from rich.filesize import decimal


def clean(text: object) -> str:
    """Foreign text, made safe to print: control and direction-changing characters become visible escapes.

    It is shown through ``rich.text.Text``, so that markup in it means nothing.
    """
    return "".join(_visible(character) for character in str(text))


def _visible(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode("ascii")


def amount(count: int, unit: str) -> str:
    """``count`` in its unit: bytes as 8.4 GB, everything else as a number and a word."""
    return decimal(count) if unit == "B" else f"{count:,} {unit}"


def clock(seconds: float) -> str:
    """A duration: 0.4 s, 7 s, 2:13, 1:02:45."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
