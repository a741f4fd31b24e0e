"""What was seen of weights beside a release, and how certain that makes it which release they are. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Certainty(StrEnum):
    """How certain it is that weights are the release that is named, from the most to the least."""

    IS = "is"
    """Everything was read, and every tensor, or every file, is the release's."""
    IS_NOT_QUITE = "is not quite"
    """Everything was read, and most of it is the release's."""
    CANDIDATE = "candidate"
    """A few MB were read. Most of the slices of large matrices that were compared are the release's."""
    RELATED = "related"
    """Small tensors are the release's, and large matrices are not, or cannot be compared. Fine-tunes are like that."""
    ALIKE = "alike"
    """No tensor could be compared: the release's manifest has no digests of tensors. Sizes, or files, agree."""
    UNKNOWN = "unknown"


ORDER = tuple(Certainty)
LEAST_SLICES = 2
"""One slice alone may be of an embedding that many models share."""


@dataclass(frozen=True, slots=True)
class Tally:
    """``agree`` of the ``of`` things that were compared are the same."""

    agree: int = 0
    of: int = 0

    @property
    def share(self) -> float:
        """0 to 1; 0 where nothing was compared."""
        return self.agree / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far weights agree with one release.

    ``small`` counts tensors that were read whole, ``slices`` parts of large matrices that were compared, ``rounded``
    those that cannot be since their numbers were rounded or quantised, and ``absent`` those that are not there, or lie
    so that reading them would take too long. ``shapes`` counts the release's tensors that are there in their shapes.
    ``parameters`` says that the numbers of weights, layers and experts are those in the manifest. ``sizes`` counts its
    large files of which one of that size is there, ``files`` small ones by digest, and ``tokenizer`` says that a
    tokenizer is among these.
    """

    small: Tally = field(default_factory=Tally)
    slices: Tally = field(default_factory=Tally)
    rounded: int = 0
    absent: int = 0
    shapes: Tally = field(default_factory=Tally)
    parameters: bool = False
    sizes: Tally = field(default_factory=Tally)
    files: Tally = field(default_factory=Tally)
    tokenizer: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that weights may be, by name, how certain that is, and why.

    ``hashed`` counts the release's files of weights, of those that were read whole; ``weak`` says that only MD5 or
    SHA-1 is known of one that agrees.
    """

    release: str
    certainty: Certainty
    agreement: Agreement = field(default_factory=Agreement)
    hashed: Tally = field(default_factory=Tally)
    weak: bool = False

    @property
    def agrees_throughout(self) -> bool:
        """Whether it is a candidate, and nothing that was compared differs: no sign of a fine-tune, or of damage."""
        slices, small = self.agreement.slices, self.agreement.small
        return self.certainty is Certainty.CANDIDATE and slices.agree == slices.of and small.agree == small.of

    def describe(self) -> str:
        """The release, the certainty and its reasons in words, as one line."""
        words = {Certainty.RELATED: "related to", Certainty.ALIKE: "looks like", Certainty.CANDIDATE: "candidate of"}
        return f"{words.get(self.certainty, self.certainty)} {self.release}: {'; '.join(self.reasons())}"

    def reasons(self) -> tuple[str, ...]:
        """Each kind of evidence in words."""
        if not self.hashed.of:
            return describe(self.agreement)
        weakly = ", by MD5 or SHA-1 only" if self.weak else ""
        return (f"{self.hashed.agree} of {self.hashed.of} files of weights agree{weakly}", *describe(self.agreement))


def judge(agreement: Agreement) -> Certainty:
    """What an agreement is worth before everything was read: at best a candidate.

    Norms alone prove nothing, since fine-tunes often keep them bit for bit.
    """
    slices = agreement.slices
    if slices.agree >= LEAST_SLICES and 2 * slices.agree > slices.of:
        return Certainty.CANDIDATE
    if slices.agree or agreement.small.agree:
        return Certainty.RELATED
    # Tensors that were compared, and are all different, are not alike because there are as many of them.
    compared = slices.of or agreement.small.of
    shapes = agreement.shapes.agree == agreement.shapes.of if agreement.shapes.of else agreement.parameters
    if not compared and (shapes or agreement.sizes.agree):
        return Certainty.ALIKE
    return Certainty.UNKNOWN


def rank(agreements: Iterable[tuple[str, Agreement]]) -> tuple[Candidate, ...]:
    """A candidate for each release that is not unknown, the best first. Of equals, the first given."""
    found = [Candidate(release, judge(agreement), agreement) for release, agreement in agreements]
    known = [candidate for candidate in found if candidate.certainty is not Certainty.UNKNOWN]
    return tuple(sorted(known, key=_order))


def is_ambiguous(candidates: tuple[Candidate, ...]) -> bool:
    """Whether nothing tells the first candidate from the second, although they need not be the same.

    Two releases of which the same tensors were seen are one, under two names, as far as anybody can tell.
    """
    alike = [candidate for candidate in candidates[:2] if candidate.certainty is Certainty.ALIKE]
    return len(alike) == 2 and _order(alike[0]) == _order(alike[1])


def describe(agreement: Agreement) -> tuple[str, ...]:
    """Each kind of evidence in words."""
    lines = []
    if agreement.slices.of:
        lines.append(f"{agreement.slices.agree} of {agreement.slices.of} slices of large matrices agree")
    if agreement.rounded:
        lines.append(f"{agreement.rounded} slices were rounded or quantised, and cannot be compared")
    if agreement.absent:
        lines.append(f"{agreement.absent} slices are not there, or cannot be read alone")
    if agreement.small.of:
        lines.append(f"{agreement.small.agree} of {agreement.small.of} small tensors agree")
    if agreement.shapes.of:
        lines.append(f"{agreement.shapes.agree} of {agreement.shapes.of} shapes agree")
    elif agreement.parameters or agreement.sizes.agree or agreement.files.agree:
        seen = (
            ("shapes", agreement.parameters),
            ("file sizes", agreement.sizes.agree),
            ("tokenizer", agreement.tokenizer),
            ("other files", agreement.files.agree - agreement.tokenizer > 0),
        )
        lines.append(
            f"by {' and '.join(name for name, is_so in seen if is_so)} only: no digests of its tensors are known"
        )
    return tuple(lines)


def _order(candidate: Candidate) -> tuple[float, ...]:
    agreement = candidate.agreement
    return (
        ORDER.index(candidate.certainty),
        -agreement.slices.share,
        -agreement.slices.agree,
        -agreement.small.share,
        -agreement.files.agree,
        -agreement.sizes.agree,
        -agreement.shapes.share,
    )
