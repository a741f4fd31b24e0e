"""One vocabulary of judgement for all parts: what was asked, what came of it, and each thing that is wrong.

A result that can be other than good has two attributes: ``question`` and ``outcome``. The command line turns these two
into an exit code, in one function, and the results themselves know nothing of exit codes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Outcome(StrEnum):
    """What is known after looking. What was not looked at is never good."""

    GOOD = "good"
    BAD = "bad"
    FAILED = "failed"
    """The world outside failed while it was looked at, so nothing is known: a disk that cannot be read."""
    UNKNOWN = "unknown"


class Question(StrEnum):
    """What a result judges."""

    BYTES = "bytes"
    """Are these the bytes, or the numbers, that they should be?"""
    FUNCTION = "function"
    """Does the model compute what it should?"""


@runtime_checkable
class Judgement(Protocol):
    """A result that can be other than good."""

    @property
    def question(self) -> Question:
        """What was asked."""
        ...

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    ``kind`` names it in a word or two, from a list that the part documents. ``subject`` is what it is about: the path
    of a file, the name of a tensor or of a layer. ``detail`` says it in words, with the numbers. ``stored_as`` is the
    name of the tensor in its file, where ``subject`` spells it in another way. All of it may quote foreign text.
    """

    kind: str
    subject: str
    detail: str
    stored_as: str = ""

    def describe(self) -> str:
        """The subject and the detail, as one line."""
        return f"{self.subject}: {self.detail}" if self.subject else self.detail


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Bad if any is bad, else failed if any failed, good if all are good and there is one, else unknown."""
    seen = set(outcomes)
    for outcome in (Outcome.BAD, Outcome.FAILED):
        if outcome in seen:
            return outcome
    return Outcome.GOOD if seen == {Outcome.GOOD} else Outcome.UNKNOWN
