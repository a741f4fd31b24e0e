"""``magnetar identify --json``: which release some weights are, and by what."""

from typing import Any, Literal

from magnetar.render.json_shapes.base import OutcomeWord, Shape, Text

CertaintyWord = Literal["is", "is not quite", "candidate", "related", "alike", "unknown"]
"""``magnetar.manifests.identity.evidence.Certainty``."""


class Tally(Shape):
    """``agree`` of the ``of`` things that were compared are the release's."""

    agree: int
    of: int


class Agreement(Shape):
    """How far weights agree with a release.

    ``small``: tensors that were read whole. ``slices``: parts of large matrices; ``rounded`` more cannot be compared,
    since their numbers were rounded or quantised, and ``absent`` are not there. ``shapes``: tensors of the release that
    are there in their shapes. ``parameters``: the number of weights is the manifest's. ``sizes``: large files, by size;
    ``files``: small ones, by digest, a tokenizer among them if ``tokenizer`` is true.
    """

    small: Tally
    slices: Tally
    rounded: int
    absent: int
    shapes: Tally
    parameters: bool
    sizes: Tally
    files: Tally
    tokenizer: bool


class Candidate(Shape):
    """A release that the weights may be.

    ``hashed``: its files of weights, where they were read whole; ``weak``: one is known only by MD5 or SHA-1.
    """

    release: Text
    certainty: CertaintyWord
    agreement: Agreement
    hashed: Tally
    weak: bool


class DifferentTensor(Shape):
    """A tensor that is not the release's, or cannot be compared, by its name in the release."""

    name: Text
    standing: Literal["different", "missing", "extra", "not comparable"]
    detail: Text


class WholeProof(Shape):
    """What reading everything has found: ``same`` of the ``total`` bytes of the release are there."""

    same: int
    total: int
    differences: list[DifferentTensor]


class IdentifiedSet(Shape):
    """One set of weights, and the releases that it may be, the best first.

    ``layout`` is empty where it cannot be opened; ``reason`` then says why. ``proof`` is null unless it was read whole.
    """

    files: list[Text]
    layout: Text
    certainty: CertaintyWord
    candidates: list[Candidate]
    reason: Text
    proof: WholeProof | None


class Identity(Shape):
    """Which release weights are; ``release`` is empty where it is not known.

    ``certainty`` is that of the set of which the least is known. ``share``, from 0 to 1, is how many of the release's
    bytes agree, null unless all was read. ``read`` is in bytes.
    """

    path: Text
    outcome: OutcomeWord
    release: Text
    certainty: CertaintyWord
    share: float | None
    read: int
    full: bool
    sets: list[IdentifiedSet]


RESULTS: dict[str, Any] = {"identify": Identity}
