"""Find the reordering of rows, columns, heads or experts that makes one matrix of another, from their fingerprints."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from magnetar.convert.compare.comparison_report import How
from magnetar.convert.compare.row_fingerprints import Fingerprints, Words

Indices = np.ndarray[Any, np.dtype[np.intp]]
MAX_LISTED_ORDER = 4096
"""A longer order is not listed: it would not help anybody."""


class Group(NamedTuple):
    """``size`` rows or columns that belong together: those of a head, or of an expert."""

    how: How
    size: int


class Reordering(NamedTuple):
    """How the second matrix was made from the first. Its line or group ``i`` was number ``order[i]`` of the first."""

    how: How
    detail: str
    order: tuple[int, ...] = ()


def find_reordering(
    first: Fingerprints, second: Fingerprints, rows: Group | None, columns: Group | None, heads: int
) -> Reordering | None:
    """The reordering that makes ``second`` of ``first``; None if there is none.

    ``rows`` and ``columns`` are the groups that rows and columns come in, if they do. ``heads`` is the number of heads
    with rotary pairs; 0 if the matrix has none.
    """
    if is_transposed(first, second):
        return Reordering(How.TRANSPOSED, "is transposed")
    if len(first.rows) != len(second.rows) or len(first.columns) != len(second.columns):
        return None
    return (
        _find_rotary(first.rows, second.rows, heads)
        or _find_groups(first.rows, second.rows, rows)
        or _find_groups(first.columns, second.columns, columns)
        or _find_lines(first.rows, second.rows, How.ROWS)
        or _find_lines(first.columns, second.columns, How.COLUMNS)
    )


def is_transposed(first: Fingerprints, second: Fingerprints) -> bool:
    """Whether the rows of each matrix are the columns of the other."""
    return np.array_equal(first.rows, second.columns) and np.array_equal(first.columns, second.rows)


def _find_rotary(first: Words, second: Words, heads: int) -> Reordering | None:
    for indices, detail in _rotary_candidates(len(first), heads) if heads else ():
        if np.array_equal(first[indices], second):
            return Reordering(How.ROTARY, detail)
    return None


def _rotary_candidates(rows: int, heads: int) -> Iterator[tuple[Indices, str]]:
    """The known mistakes of converters: pairs that were not reordered, or reordered for another number of heads."""
    split, interleave = _split(rows, heads), _interleave(rows, heads)
    yield split, "has its rotary pairs split into halves, as transformers has them"
    yield interleave, "has its halves interleaved, as if they had been split"
    for count in (count for count in range(1, rows // 2 + 1) if rows % (2 * count) == 0 and count != heads):
        detail = f"was permuted for {count} heads, though it has {heads}"
        wrong, back = _split(rows, count), _interleave(rows, count)
        for indices in (wrong[interleave], split[back], wrong, back):
            yield indices, detail


def _split(rows: int, heads: int) -> Indices:
    """The old place of each row when, in each head, the first rows of all pairs are put before the second rows."""
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def _interleave(rows: int, heads: int) -> Indices:
    """The old place of each row when the halves of each head are interleaved: the inverse of ``_split``."""
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def _find_groups(first: Words, second: Words, group: Group | None) -> Reordering | None:
    """Heads or experts that changed places as a whole."""
    if group is None or not group.size or len(first) % group.size:
        return None
    keys = [[part.tobytes() for part in side.reshape(-1, group.size)] for side in (first, second)]
    places = {key: place for place, key in enumerate(keys[0])}
    order = tuple(places.get(key, -1) for key in keys[1])
    if sorted(order) != list(range(len(order))):
        return None
    return Reordering(group.how, f"has its {group.how}: {_list_order(order)}", order)


def _find_lines(first: Words, second: Words, how: How) -> Reordering | None:
    from_first, from_second = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    if not np.array_equal(first[from_first], second[from_second]):
        return None
    moved = int(np.count_nonzero(first != second))
    order = np.empty(len(first), np.intp)
    order[from_second] = from_first
    listed = tuple(order.tolist()) if len(order) <= MAX_LISTED_ORDER else ()
    return Reordering(how, f"has {moved:,} of {len(first):,} {how}", listed)


def _list_order(order: tuple[int, ...]) -> str:
    return ", ".join(map(str, order[:16])) + (", …" if len(order) > 16 else "")
