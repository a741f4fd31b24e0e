"""What is found of one key or one part of a file, and the rows of the ledger that follow."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from magnetar.manifests.checking.ledger import Means, Row, RowState, Subject

SHOWN = 60
"""Characters of a foreign value that are shown."""

NAMED = 4
"""Keys that are named in the row of their file."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of one thing. ``harmless``: it differs or is unknown, and no runtime computes with it."""

    name: str
    state: RowState
    detail: str = ""
    harmless: bool = False
    subject: Subject = Subject.KEY


def right(name: str, detail: str = "") -> Judgement:
    """It is what the release's becomes."""
    return Judgement(name, RowState.PROVEN, detail)


def wrong(name: str, detail: str) -> Judgement:
    """It is another thing than the release's."""
    return Judgement(name, RowState.WRONG, detail)


def unknown(name: str, detail: str) -> Judgement:
    """It is not understood, or the release does not say what it should be."""
    return Judgement(name, RowState.NOT_CHECKED, detail)


def harmless(name: str, why: str) -> Judgement:
    """It cannot be derived, and nothing is computed with it."""
    return Judgement(name, RowState.NOT_CHECKED, f"changes nothing: {why}", harmless=True)


def differs(found: Any, expected: Any) -> str:
    """The words for a value that is not the expected one."""
    return f"is {show(found)}, not {show(expected)}"


def show(value: Any) -> str:
    """A value as JSON, cut to what can be read. It is foreign text."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def same(found: Any, expected: Any) -> bool:
    """Whether two JSON values are equal. Numbers are compared by value, but true is not 1."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(value, expected[key]) for key, value in found.items())
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    numbers = isinstance(found, int | float) and isinstance(expected, int | float)
    return (numbers or type(found) is type(expected)) and bool(found == expected)


def key_rows(file: str, judgements: Iterable[Judgement]) -> tuple[Row, ...]:
    """A row for each judgement."""
    return tuple(
        Row(
            subject=judgement.subject,
            name=judgement.name,
            file=file,
            state=judgement.state,
            loadable=not judgement.harmless,
            means=Means.DERIVED if judgement.state is RowState.PROVEN else None,
            detail=judgement.detail,
        )
        for judgement in judgements
    )


def file_row(
    file: str,
    state: RowState,
    *,
    size: int | None = None,
    means: Means | None = None,
    weak: bool = False,
    loadable: bool = True,
    detail: str = "",
) -> Row:
    """A row about a whole file."""
    return Row(
        subject=Subject.FILE,
        name=file,
        file=file,
        state=state,
        size=size,
        means=means,
        weak=weak,
        loadable=loadable,
        detail=detail,
    )


def file_rows(file: str, size: int, judgements: Sequence[Judgement]) -> tuple[Row, ...]:
    """The row of a file that was judged by its parts, and the rows of these."""
    for state in (RowState.WRONG, RowState.NOT_CHECKED):
        names = [each.name for each in judgements if each.state is state and not each.harmless]
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            detail = f"{state}: {', '.join(names[:NAMED])}{more}"
            return file_row(file, state, size=size, detail=detail), *key_rows(file, judgements)
    return file_row(file, RowState.PROVEN, size=size, means=Means.CONTENTS), *key_rows(file, judgements)
