"""``magnetar verify --json``: files against their digests, or the tensors of a converted copy against theirs."""

from typing import Annotated, Any, Literal

from pydantic import AliasPath, BeforeValidator, Field

from magnetar.render.json_shapes.base import ByteRange, Finding, Number, OutcomeWord, Shape, Text, as_byte_range

StateWord = Literal["good", "bad", "unchanged", "not checked", "unreadable"]
StandingWord = Literal["same", "different", "missing", "extra", "not comparable", "unreadable"]
TrustWord = Literal["the release", "undamaged", "weak"]


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

    ``trust`` is what a good outcome is worth. ``unexpected`` are files that the release does not have. ``damage`` has
    the places, as far as a torrent's pieces tell. ``unreadable_folders`` could not be listed.
    """

    kind: Literal["files"] = "files"
    folder: Text
    outcome: OutcomeWord
    release: Text
    reason: Text
    trust: TrustWord
    files: list[CheckedFile]
    findings: list[Finding]
    unexpected: list[Text]
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


class VerifiedTensors(Shape):
    """The tensors of a converted copy, held against the digests of the tensors of ``release``."""

    kind: Literal["tensors"] = "tensors"
    path: Text = Field(validation_alias=AliasPath("proof", "path"))
    outcome: OutcomeWord
    release: Text
    trust: TrustWord
    layout: Text = Field(validation_alias=AliasPath("proof", "layout"))
    reason: Text = Field(validation_alias=AliasPath("proof", "reason"))
    tensors: list[ProvenTensor] = Field(validation_alias=AliasPath("proof", "tensors"))


RESULTS: dict[str, Any] = {"verify": VerifiedFiles | VerifiedTensors}
