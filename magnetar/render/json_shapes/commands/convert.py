"""``magnetar convert --json``: what was written, or with ``--dry-run`` what would be."""

from typing import Any, Literal

from pydantic import Field

from magnetar.render.json_shapes.base import Shape, Text


class ConvertedFile(Shape):
    """A file of the result; ``size`` is in bytes."""

    path: Text
    size: int
    sha256: Text


class Converted(Shape):
    """A finished conversion. ``layout`` and ``reason`` are those of the source, ``bytes`` those of the tensors.

    ``verified`` says that in this run the result was read back and compared with the source bit for bit, which took
    ``comparing`` of the ``seconds``. ``already`` says that nothing was left to write, by the journal beside the result,
    which proves nothing by itself. ``listed`` counts the tensors that ``listed_in``, a manifest, has a digest for; 0
    where no manifest was asked. ``proven`` of them were read in this run, and have these digests.
    """

    kind: Literal["converted"] = "converted"
    destination: Text
    target: Text
    layout: Text
    reason: Text
    files: list[ConvertedFile]
    tensors: int
    bytes: int
    seconds: float
    comparing: float
    verified: bool
    already: bool
    notes: list[Text]
    proven: int
    listed: int
    listed_in: Text


class PlannedFile(Shape):
    """A file that would be written, of ``size`` bytes."""

    path: Text
    size: int
    tensors: int


class ConversionPlan(Shape):
    """What a conversion would do. Nothing was written.

    ``rearranged`` of the ``tensors`` change the order of their rows; the others are copied. ``missing`` bytes would be
    taken of the disk, which has ``free``; ``memory`` bytes would be needed at most. ``steps`` says what each file and
    tensor is made of.
    """

    kind: Literal["plan"] = "plan"
    destination: Text
    target: Text
    layout: Text
    reason: Text
    files: list[PlannedFile]
    tensors: int
    rearranged: int = Field(validation_alias="turned")
    missing: int
    free: int
    memory: int
    steps: list[Text]


RESULTS: dict[str, Any] = {"convert": Converted | ConversionPlan}
