"""Read a JSON object that a runtime would load, strictly: what two readers could understand in two ways is refused."""

import json
from pathlib import Path
from typing import Any, NoReturn

from magnetar.errors import LayoutError

MAX_CONFIGURATION_BYTES = 1 << 20
"""Of a configuration. Those of published models have a few KB."""

MAX_TOKENIZER_BYTES = 64 << 20
"""Of a tokenizer.json. The largest known, of 262,144 pieces, has 33 MB."""

MAX_KEYS = 10_000
"""Of an object; each has a row of its own in the ledger."""


def parse_object(content: bytes, name: str) -> dict[str, Any]:
    """The object in ``content``. Raises ``LayoutError`` for a key that is there twice, for too many, NaN, or what is
    no object.
    """
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_refuse_twice, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{name}: is not JSON: {str(error)[:200]}", path=Path(name)) from error
    if not isinstance(document, dict):
        raise LayoutError(f"{name}: is not a JSON object", path=Path(name))
    if len(document) > MAX_KEYS:
        raise LayoutError(f"{name}: has {len(document):,} keys, more than any such file", path=Path(name))
    return document


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:80]!a} is there twice")
        found[name] = value
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
