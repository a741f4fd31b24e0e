"""``magnetar verify --json``: files against their digests, or a converted copy against what its release derives to."""

from typing import Annotated, Any, Literal

from pydantic import AliasPath, BeforeValidator, Field

from magnetar.render.json_shapes.base import ByteRange, Finding, Number, OutcomeWord, Shape, Text, as_byte_range

StateWord = Literal["good", "bad", "unchanged", "not checked", "unreadable"]
StandingWord = Literal["same", "different", "missing", "extra", "not comparable", "unreadable"]
VerdictWord = Literal[
    "the release",
    "undamaged, by its own word",
    "weak",
    "unchanged",
    "the same tensors",
    "not all checked",
    "not all could be read",
    "not the release",
]
VoucherWord = Literal[
    "a signer that the user named",
    "the catalog",
    "a manifest that the user named",
    "the link",
    "only the folder itself",
]
SubjectWord = Literal["file", "tensor", "configuration key", "vocabulary"]
RowStateWord = Literal["proven", "unchanged", "wrong", "not checked", "unreadable"]
MeansWord = Literal["file digest", "torrent pieces", "tensor digest", "derived again", "its contents"]


class LedgerRow(Shape):
    """What is known of one file, tensor, key of a configuration, or part of a vocabulary.

    ``file`` is the path of the file that it lies in. ``loadable``: a runtime could load or run it. ``means`` proved it
    and ``voucher`` vouches for that, both null where it is not proven. ``weak``: by nothing better than MD5 or SHA-1.
    ``digest`` is that of a file's bytes as they were read, empty if none was computed.
    """

    subject: SubjectWord
    name: Text
    file: Text
    state: RowStateWord
    loadable: bool
    size: int | None
    means: MeansWord | None
    voucher: VoucherWord | None
    weak: bool
    detail: Text
    digest: Text


class CheckedFile(Shape):
    """A file of the release. ``size`` is in bytes, null where the manifest does not know it.

    ``checked_by`` are the digest algorithms, or ``pieces``, that its state rests on. A file that is ``unchanged`` was
    good in an earlier run, and was not read in this one. Of one that is ``unreadable`` nothing is known: ``detail``
    says what the system answered.
    """

    path: Text
    size: int | None
    state: StateWord
    checked_by: list[Text]
    detail: Text


class DamagedTensor(Shape):
    """A tensor: ``damaged`` of its ``nbytes`` bytes lie in damaged pieces. ``name`` is its name in the file."""

    name: Text
    damaged: int
    nbytes: int


class DamagedFile(Shape):
    """Where a file is damaged: byte ranges, their sum, and the torrent's pieces by index.

    ``notes`` say what is not known of the tensors, or only guessed.
    """

    path: Text
    damaged: int
    ranges: list[Annotated[ByteRange, BeforeValidator(as_byte_range)]]
    pieces: list[int]
    tensors: list[DamagedTensor]
    notes: list[Text]


class VerifiedFiles(Shape):
    """The files of a folder, held against the manifest of ``release``, which was chosen for ``reason``.

    ``verdict`` says in words what the outcome is worth, and ``voucher`` by whose word. ``manifest_digest`` is the
    SHA-256 of the manifest's file, empty if there is none. ``unexpected`` are files that
    the release does not have. ``ledger`` has a row for every file that is there, or should be. ``damage`` has the
    places, as far as a torrent's pieces tell. ``unreadable_folders`` could not be listed.
    """

    kind: Literal["files"] = "files"
    folder: Text
    outcome: OutcomeWord
    release: Text
    reason: Text
    verdict: VerdictWord
    voucher: VoucherWord
    manifest_digest: Text
    files: list[CheckedFile]
    findings: list[Finding]
    unexpected: list[Text]
    ledger: list[LedgerRow] = Field(validation_alias=AliasPath("ledger", "rows"))
    damage: list[DamagedFile]
    unreadable_folders: list[Text]


class ProvenTensor(Shape):
    """A tensor of the release, by its name there. ``dtype`` and ``nbytes`` are those of the copy.

    ``cast_from`` is the release's dtype where that is another. ``error`` is the normalised mean square error against
    the reference, and ``reproduced`` says that casting the reference gives exactly these bytes.
    """

    name: Text
    standing: StandingWord
    dtype: Text
    nbytes: int
    cast_from: Text
    error: Number | None
    reproduced: bool
    detail: Text


class VerifiedSet(Shape):
    """The tensors of one set of weights. ``path`` is its first file."""

    path: Text
    layout: Text
    reason: Text
    tensors: list[ProvenTensor]


class VerifiedCopy(Shape):
    """A converted copy, held against ``release``, which was chosen for ``reason``.

    ``verdict`` says in words what the outcome is worth, and ``voucher`` by whose word. ``manifest_digest`` is the
    SHA-256 of the manifest's file, empty if there is none. ``proofs`` has the tensors of
    each set of weights, by the release's names. ``ledger`` has a row for everything: files, tensors, keys, vocabulary.
    ``single``: one file was named, and what lies beside it was not looked at.
    """

    kind: Literal["copy"] = "copy"
    path: Text
    single: bool
    outcome: OutcomeWord
    release: Text
    reason: Text
    verdict: VerdictWord
    voucher: VoucherWord
    manifest_digest: Text
    proofs: list[VerifiedSet]
    ledger: list[LedgerRow] = Field(validation_alias=AliasPath("ledger", "rows"))


RESULTS: dict[str, Any] = {"verify": VerifiedFiles | VerifiedCopy}
