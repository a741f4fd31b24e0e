"""The manifest: one release in TOML, ``format = 1``. Strict: what is not understood is refused, not skipped.

Keys that begin with ``x-`` are for others, and are passed over.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from magnetar.errors import MalformedError, ManifestError
from magnetar.manifests.folder.safe_path import PART_NUMBER, safe_path
from magnetar.manifests.hashing.digests import HEX_LENGTHS, Digest

FORMAT = 1
LARGEST_MANIFEST = 1 << 20
"""tomllib reads 6 MB/s. The catalog's manifests have 3 KB."""
LONGEST_KEY = 256
"""A dotted key costs tomllib time that is quadratic in its length: 9 s for 40 KB."""
DEEPEST_NESTING = 32
"""tomllib recurses once a bracket."""


DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that are devices in every folder of a Windows machine, whatever their ending."""


def _safe(text: str) -> str:
    try:
        path = safe_path(text)
    except MalformedError as error:
        raise ValueError(error.message) from error
    if any(DEVICES.fullmatch(part.rstrip(" .")) for part in path.parts):
        raise ValueError(f"{text[:100]!r} names a device on some machines")
    return str(path)


def _digest(value: object) -> Digest:
    if isinstance(value, Digest):
        return value
    try:
        return Digest.parse(value if isinstance(value, str) else repr(value))
    except MalformedError as error:
        raise ValueError(error.message) from error


def _strong(digest: Digest) -> Digest:
    if digest.weak:
        raise ValueError(f"{digest.algorithm} is too weak to pin a file")
    return digest


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Line = Annotated[str, Field(min_length=1, max_length=2000)]
Count = Annotated[int, Field(gt=0, lt=1 << 62)]
Size = Annotated[int, Field(ge=0, lt=1 << 62)]
RelativePath = Annotated[str, AfterValidator(_safe)]
DIGEST_PATTERN = "^(" + "|".join(f"{name}:[0-9a-f]{{{length}}}" for name, length in HEX_LENGTHS.items()) + ")$"
DigestText = Annotated[
    Digest, BeforeValidator(_digest), WithJsonSchema({"type": "string", "pattern": DIGEST_PATTERN}, mode="validation")
]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2000)]


class _Table(BaseModel):
    """A TOML table whose every key is known."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, defer_build=True, json_schema_extra={"patternProperties": {"^x-": {}}}
    )

    @model_validator(mode="before")
    @classmethod
    def _pass_over_foreign_keys(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        return {key: value for key, value in table.items() if not str(key).startswith("x-")}


class FilePlace(_Table):
    """Where else one file can be had, by HTTP.

    ``offset`` is the byte of the URL at which it begins: inside an uncompressed tar, say. With ``parts``, the file was
    cut in so many, and the URL holds ``{part}`` where their numbers stand, counted from 0, or ``{part:02}`` for at
    least two digits.
    """

    url: Url
    offset: Size = 0
    parts: Annotated[int, Field(ge=0, le=10_000)] = 0

    @model_validator(mode="after")
    def _number_parts_in_the_url(self) -> "FilePlace":
        if bool(self.parts) != bool(PART_NUMBER.search(self.url)):
            raise ValueError("parts and {part} in the url belong together")
        if self.parts and self.offset:
            raise ValueError("a file in parts has no offset")
        return self


class ReleaseFile(_Table):
    """One file of the release. ``size`` in bytes; without digests it can be found, but not proven."""

    path: RelativePath
    size: Size | None = None
    digests: tuple[DigestText, ...] = ()
    mirrors: tuple[FilePlace, ...] = ()


class Mirror(_Table):
    """Where else the whole release can be had by HTTP: an uncompressed tar of it, or the folder above its files."""

    url: Url
    digests: tuple[DigestText, ...] = ()


class SideFile(_Table):
    """A file beside the manifest, by its digest."""

    path: RelativePath
    digest: Annotated[DigestText, AfterValidator(_strong)]


class ArchitectureFacts(_Table):
    """What kind of model it is, in counts of weights; ``context_length`` in tokens."""

    total_parameters: Count | None = None
    active_parameters: Count | None = None
    layers: Count | None = None
    experts: Size | None = None
    experts_per_token: Size | None = None
    context_length: Count | None = None
    dtype: Line | None = None


class Smoke(_Table):
    """What the smoke test must find: bits per byte on the text with that digest, give or take ``tolerance``.

    Without ``bits_per_byte`` only the fingerprint tells. ``golden`` is its digest; it holds what the model answered,
    position by position.
    """

    text: Annotated[DigestText, AfterValidator(_strong)]
    bits_per_byte: Annotated[float, Field(gt=0, lt=64)] | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    golden: Annotated[DigestText, AfterValidator(_strong)] | None = None


class Manifest(_Table):
    """One release. ``files`` is None where the list itself is not known; ``tensors`` names its tensors' digests.

    ``info`` is a digest of the torrent's info dictionary, byte for byte: more than the SHA-1 that an infohash is.
    """

    format: int
    name: Name
    title: Line
    publisher: Line
    licence: Line
    published: date | None = None
    summary: Line | None = None
    magnet: Annotated[str, Field(pattern=r"^magnet:\?", max_length=16384)] | None = None
    infohash_v1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    infohash_v2: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    info: Annotated[DigestText, AfterValidator(_strong)] | None = None
    folder: RelativePath | None = None
    layout: Line | None = None
    architecture: ArchitectureFacts = ArchitectureFacts()
    files: tuple[ReleaseFile, ...] | None = None
    mirrors: tuple[Mirror, ...] = ()
    tensors: SideFile | None = None
    smoke: Smoke | None = None
    sources: tuple[Line, ...] = ()
    unknown: tuple[Line, ...] = ()

    @model_validator(mode="after")
    def _name_each_file_once(self) -> "Manifest":
        # Compared as a file system that ignores case and Unicode form would: the second file would overwrite the first.
        seen: set[str] = set()
        for file in self.files or ():
            folded = unicodedata.normalize("NFC", file.path).casefold()
            if folded in seen:
                raise ValueError(f"files: {file.path!r} is named twice")
            seen.add(folded)
        for path in seen:
            above = next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in seen), None)
            if above is not None:
                raise ValueError(f"files: {above[:100]!r} is named both as a file and as a folder")
        return self

    @property
    def known_size(self) -> int | None:
        """Bytes of all files; None where one of them is not known."""
        sizes = [file.size for file in self.files or ()]
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


def load_manifest(path: Path) -> Manifest:
    """Read and check one manifest. Raises ``ManifestError``, naming the file and the key."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_MANIFEST + 1)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", hint="check the path") from error
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Check the bytes of a manifest; ``where`` names them in messages. Raises ``ManifestError``."""
    table = _parse_toml(content, where)
    version = table.get("format")
    if type(version) is int and version > FORMAT:
        raise ManifestError(
            f"{where}: is of format {version}, and this Magnetar reads format {FORMAT}", hint="upgrade Magnetar"
        )
    if type(version) is not int or version != FORMAT:
        raise ManifestError(f"{where}: format is {version!r}, not {FORMAT}", hint="a manifest begins with format = 1")
    try:
        return Manifest.model_validate(_lists_as_tuples(table))
    except ValidationError as error:
        raise ManifestError(f"{where}: {'; '.join(_explain(error))}", hint="mend the manifest") from error


def _explain(error: ValidationError) -> Iterator[str]:
    """Each thing wrong, with the path of its key: ``files.0.path: …``."""
    for one in error.errors(include_url=False, include_input=False)[:10]:
        path = ".".join(str(part) for part in one["loc"])
        yield (
            f"{path}: {one['msg'].removeprefix('Value error, ')}" if path else one["msg"].removeprefix("Value error, ")
        )


def _lists_as_tuples(value: Any) -> Any:
    """TOML has arrays; the frozen tables hold tuples, and strict validation does not confuse the two."""
    if isinstance(value, dict):
        return {key: _lists_as_tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_lists_as_tuples(inner) for inner in value)
    return value


def _parse_toml(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > LARGEST_MANIFEST:
        raise ManifestError(f"{where}: is larger than {LARGEST_MANIFEST} bytes, which no manifest is")
    try:
        text = content.decode("utf-8")
        _bound_parse_time(text, where)
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: is not UTF-8 text: byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ManifestError(f"{where}: is not TOML: {error}") from error


def _bound_parse_time(text: str, where: str) -> None:
    """Refuse what would make tomllib slow or deep, before it sees the document."""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', '""', line)
        if max((len(key) for key in re.split(r"[=,{]", bare)), default=0) > LONGEST_KEY and "." in bare:
            raise ManifestError(f"{where}: line {number} has a key or value of over {LONGEST_KEY} characters")
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    if deepest > DEEPEST_NESTING:
        raise ManifestError(f"{where}: is nested {deepest} deep; {DEEPEST_NESTING} is the limit")
