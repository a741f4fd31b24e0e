"""``magnetar manifest … --json``: manifests as they are in TOML, and what was written."""

from typing import Any

from pydantic import Field, model_validator

from magnetar.render.json_shapes.base import Printed, Shape, Text


class FilePlace(Shape):
    """Where else a file can be had by HTTP: from byte ``offset`` of ``url``, or in ``parts`` with ``{part}`` in it."""

    url: Text
    offset: int
    parts: int


class ReleaseFile(Shape):
    """A file of the release. ``size`` is in bytes, null where it is not known. Digests are ``algorithm:hex``.

    The contents that a manifest holds are left out; the TOML has them.
    """

    path: Text
    size: int | None
    digests: list[Printed]
    mirrors: list[FilePlace]


class Mirror(Shape):
    """Where else the whole release can be had by HTTP: the folder above its files, or a tar of it."""

    url: Text
    digests: list[Printed]


class SideFile(Shape):
    """A file beside the manifest, by its digest."""

    path: Text
    digest: Printed


class ArchitectureFacts(Shape):
    """What kind of model it is. Counts of weights; ``context_length`` in tokens; null where it is not known."""

    total_parameters: int | None
    active_parameters: int | None
    layers: int | None
    experts: int | None
    experts_per_token: int | None
    context_length: int | None
    dtype: Text | None


class Smoke(Shape):
    """What ``boot`` must find: bits per byte on the text with that digest, within the share ``tolerance``.

    ``golden`` is the digest of the release's fingerprint.
    """

    text: Printed
    bits_per_byte: float | None
    tolerance: float
    golden: Printed | None


class Manifest(Shape):
    """A manifest, by its keys in TOML (docs/manifest.schema.json). A key that it does not have is null."""

    format: int
    name: Text
    title: Text
    publisher: Text
    licence: Text
    published: Text | None
    summary: Text | None
    magnet: Text | None
    infohash_v1: Text | None
    infohash_v2: Text | None
    info: Printed | None
    folder: Text | None
    layout: Text | None
    architecture: ArchitectureFacts
    files: list[ReleaseFile] | None
    mirrors: list[Mirror]
    tensors: SideFile | None
    smoke: Smoke | None
    sources: list[Text]
    unknown: list[Text]


class WrittenManifest(Shape):
    """A manifest, its TOML, and the file that it was written to: null where it is only shown."""

    manifest: Manifest
    text: Text
    path: Text | None


class Strength(Shape):
    """How many of the files have a strong digest, only a weak one, or none. ``files`` is null if they are not known."""

    name: Text
    files: int | None
    strong: int
    weak: int
    without_digest: int = Field(validation_alias="bare")


class WrittenTensors(Shape):
    """The file with the digests of ``tensors`` tensors. ``lines`` are what the manifest needs to name it."""

    path: Text
    tensors: int
    layout: Text
    lines: Text


class ExportedText(Shape):
    """The checksum file as it is printed without ``--json``; of pointers of Git LFS, their paths, one a line."""

    text: Text

    @model_validator(mode="before")
    @classmethod
    def _name_it(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value


RESULTS: dict[str, Any] = {
    "manifest create": WrittenManifest,
    "manifest show": Manifest,
    "manifest check": Strength,
    "manifest pin": WrittenManifest,
    "manifest import": WrittenManifest,
    "manifest tensors": WrittenTensors,
    "manifest export": ExportedText,
}
