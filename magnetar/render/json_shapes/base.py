"""What all shapes are made of: a table of named fields, and values that JSON can hold."""

import math
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

Format = Literal[1]
FORMAT: Format = 1
"""Raised when a field is renamed, removed, or changes its meaning. New fields may be added without that."""


class Shape(BaseModel):
    """An object with exactly these fields, filled from the attributes of a result."""

    model_config = ConfigDict(
        from_attributes=True, frozen=True, defer_build=True, json_schema_serialization_defaults_required=True
    )


def _as_text(value: object) -> object:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, PurePath | date):
        value = str(value)
    # A file name may hold bytes that are no text; JSON cannot.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _as_printed(value: object) -> object:
    return value if value is None else _as_text(str(value))


def _as_finite(value: object) -> object:
    """JSON has no NaN and no infinity: they become text, which every reader accepts."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


Text = Annotated[str, BeforeValidator(_as_text)]
"""Text, or a path, a date or a word of an enumeration as text. It may quote foreign names."""

Printed = Annotated[str, BeforeValidator(_as_printed)]
"""Something that has a written form: a digest (``sha256:9f86…``), a magnet link, a signer."""

Number = Annotated[float | Literal["nan", "inf", "-inf"], BeforeValidator(_as_finite)]

OutcomeWord = Literal["good", "bad", "failed", "unknown"]
"""``magnetar.findings.Outcome``."""


class Finding(Shape):
    """One thing that is wrong: what kind of thing, about which file or tensor, and the numbers in words.

    ``stored_as`` is the name of the tensor in its file, where ``subject`` is spelled in another way; else empty.
    """

    kind: Text
    subject: Text
    detail: Text
    stored_as: Text


class ByteRange(Shape):
    """``length`` bytes from ``offset`` on."""

    offset: int
    length: int


def as_byte_range(value: Any) -> Any:
    """A pair of offset and length, by name."""
    return {"offset": value[0], "length": value[1]} if isinstance(value, tuple) else value
