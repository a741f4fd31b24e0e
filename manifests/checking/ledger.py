"""The ledger of proof: everything that was named, row by row, with what proved it and who vouches for that.

The verdict follows from the rows alone, in pure functions. A row says what is known of one file, one tensor, one key of
a configuration, or one part of a vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from magnetar.findings import Outcome, Question


class Subject(StrEnum):
    """What a row is about."""

    FILE = "file"
    TENSOR = "tensor"
    KEY = "configuration key"
    VOCABULARY = "vocabulary"


class RowState(StrEnum):
    """What is known of a row's subject."""

    PROVEN = "proven"
    UNCHANGED = "unchanged"
    """An earlier run proved it, and nothing that a file system shows has changed since."""
    WRONG = "wrong"
    NOT_CHECKED = "not checked"
    UNREADABLE = "unreadable"
    """The disk, or the system, did not give its bytes: nothing is known of them."""


class Means(StrEnum):
    """What proved a row."""

    FILE_DIGEST = "file digest"
    PIECES = "torrent pieces"
    TENSOR_DIGEST = "tensor digest"
    DERIVED = "derived again"
    """It is what the release's own files become in this format."""
    CONTENTS = "its contents"
    """A container of which every part has a row of its own, and is proven."""


class Voucher(StrEnum):
    """By whose word a proof holds, from the best to the least."""

    SIGNER = "a signer that the user named"
    CATALOG = "the catalog"
    MANIFEST = "a manifest that the user named"
    LINK = "the link"
    FOLDER = "only the folder itself"


INDEPENDENT = frozenset({Voucher.SIGNER, Voucher.CATALOG, Voucher.MANIFEST})
"""Whose word does not come from where the bytes came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one thing.

    ``name`` is the path of a file, the name of a tensor or key. ``file`` is the path of the file that it lies in. All
    names are foreign text. ``size`` is in bytes, None where it is not known. ``loadable``: a runtime could load or run
    it; a file that none loads never makes a verdict less than good unless it is wrong. ``means`` and ``voucher`` are of
    a row that is proven or unchanged. ``weak``: nothing better than MD5 or SHA-1 proves it. ``detail`` is a reason in
    words: what is wrong with it, or why it was not checked. ``digest`` is that of a file's bytes as they were read, or
    as an earlier run proved them (``sha256:…``); empty if it is not known, or the row is of something else.
    """

    subject: Subject
    name: str
    file: str
    state: RowState
    loadable: bool = True
    size: int | None = None
    means: Means | None = None
    voucher: Voucher | None = None
    weak: bool = False
    detail: str = ""
    digest: str = ""


class Verdict(StrEnum):
    """What the rows come to, in words. Each says no more than what was checked."""

    RELEASE = "the release"
    """Everything that a runtime could load is proven, by the word of somebody whom the user chose."""
    UNDAMAGED = "undamaged, by its own word"
    """As above, but only the folder itself or the link says what it should be. A hostile release can ship that too."""
    WEAK = "weak"
    """As above, but some of it is proven by nothing better than MD5 or SHA-1."""
    UNCHANGED = "unchanged"
    """Some of it was proven in an earlier run, and looks as it did then."""
    SAME_TENSORS = "the same tensors"
    """The tensors are the release's. Something else that a runtime could load was not checked."""
    NOT_ALL = "not all checked"
    NOT_READ = "not all could be read"
    WRONG = "not the release"


@dataclass(frozen=True, slots=True)
class Ledger:
    """All rows of what was examined, and the verdict that follows from them."""

    rows: tuple[Row, ...]

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """See ``judge_rows``."""
        return judge_rows(self.rows)

    @property
    def verdict(self) -> Verdict:
        """See ``find_verdict``."""
        return find_verdict(self.rows)

    @property
    def not_checked(self) -> tuple[Row, ...]:
        """The rows that keep the verdict from being better, though nothing is wrong with them."""
        return tuple(row for row in self.rows if row.loadable and row.state is RowState.NOT_CHECKED)


def judge_rows(rows: Iterable[Row]) -> Outcome:
    """Bad if a row is wrong; failed if one could not be read; unknown if one that is loadable was not checked.

    Good only if something loadable is proven, and all that is loadable is. Whoever vouches makes no difference here.
    """
    rows = tuple(rows)
    states = {row.state for row in rows}
    if RowState.WRONG in states:
        return Outcome.BAD
    if RowState.UNREADABLE in states:
        return Outcome.FAILED
    loadable = [row.state for row in rows if row.loadable]
    proven = bool(loadable) and all(state in (RowState.PROVEN, RowState.UNCHANGED) for state in loadable)
    return Outcome.GOOD if proven else Outcome.UNKNOWN


def find_verdict(rows: Iterable[Row]) -> Verdict:
    """The words for ``judge_rows``, and for the worst of what is good: whose word it is, and how strong the digests."""
    rows = tuple(rows)
    outcome = judge_rows(rows)
    if outcome is Outcome.BAD:
        return Verdict.WRONG
    if outcome is Outcome.FAILED:
        return Verdict.NOT_READ
    if outcome is Outcome.UNKNOWN:
        tensors = [row.state is RowState.PROVEN for row in rows if row.subject is Subject.TENSOR]
        return Verdict.SAME_TENSORS if tensors and all(tensors) else Verdict.NOT_ALL
    loadable = [row for row in rows if row.loadable]
    if any(row.voucher not in INDEPENDENT for row in loadable):
        return Verdict.UNDAMAGED
    if any(row.weak for row in loadable):
        return Verdict.WEAK
    return Verdict.UNCHANGED if any(row.state is RowState.UNCHANGED for row in loadable) else Verdict.RELEASE
