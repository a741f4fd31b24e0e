"""Judge the texts that safetensors files hold beside their tensors (``__metadata__``)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from magnetar.convert.derive.judgement import Judgement, harmless, right, show, unknown, wrong
from magnetar.convert.derive.known_keys import is_version

FORMATS = ("pt", "mlx")
"""Values of ``format`` by which tensors are loaded as they are. Those of ``tf`` and ``flax`` would be transposed."""

RECORD = ("magnetar.version", "magnetar.source", "magnetar.plan")
"""What a conversion notes of where it came from: a version, and digests that only the release's weights can give."""


def judge_metadata(found: Mapping[str, str], by_us: bool = False) -> Iterator[Judgement]:
    """The texts of one file. ``by_us``: the weights say that this version wrote them."""
    if by_us and set(found) != {"format", *RECORD}:
        yield unknown("keys", "are not those that this version writes")
    for name, value in found.items():
        if name == "format":
            yield _judge_format(name, value)
        else:
            yield judge_record(name, value) or harmless(name, "it is text, and no runtime computes with it")


def judge_record(name: str, value: Any) -> Judgement | None:
    """A key of the record of a conversion; None for any other key."""
    if name == "magnetar.version":
        fits = is_version(value)
    elif name in RECORD:
        fits = isinstance(value, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", value) is not None
    else:
        return unknown(name, f"is not known; it is {show(value)}") if name.startswith("magnetar.") else None
    if fits:
        return harmless(name, "it notes where the file came from")
    return unknown(name, f"is {show(value)}, which no conversion writes")


def _judge_format(name: str, value: str) -> Judgement:
    if value in FORMATS:
        return right(name)
    if value in ("tf", "flax", "jax"):
        return wrong(name, f"is {show(value)}: transformers would rearrange the tensors")
    return unknown(name, f"is {show(value)}")
