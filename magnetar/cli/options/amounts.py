"""Amounts and durations as they are typed: ``20M``, ``64k``, ``12h``."""

import re

import typer

DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_SECONDS = 1e9


def parse_amount(text: str) -> int:
    """Bytes, or bytes a second, in decimal units: ``750k``, ``20M`` or ``1.5G``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)[bB]?", text.strip())
    if match is None or (amount := int(float(match[1]) * DECIMAL[match[2].lower()])) <= 0:
        raise typer.BadParameter(f"{text!r} is not an amount like 750k, 20M or 1.5G")
    return amount


def parse_power_of_two(text: str) -> int:
    """Bytes in binary units, as pieces are measured: ``65536``, ``64k`` or ``4M``, where k is 1024."""
    match = re.fullmatch(r"(\d{1,12})\s*([kKmM]?)(?:i?[bB])?", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a length like 65536, 64k or 4M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20}[match[2].lower()]


def parse_duration(given: str | float) -> float:
    """Seconds: ``90``, ``90s``, ``15m``, ``12h`` or ``2d``. Typer passes a default here as the number that it is."""
    text = str(given)
    scale = SECONDS.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * scale if scale else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < MAX_SECONDS:
        raise typer.BadParameter(f"{text!r} is not a duration like 90s, 15m, 12h or 2d")
    return seconds
