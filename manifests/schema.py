"""The manifest: a TOML document, ``format = 1``, that describes one release.

Reading is strict: an unknown key is an error, since it may be a misspelt one that somebody relies on. Keys that begin
with ``x-`` belong to other tools and are ignored. Size, nesting and the length of keys are bounded before the text is
given to ``tomllib``, because its time and its recursion grow with them.
"""

import base64
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
from magnetar.manifests.hashing.digests import HEX_LENGTHS, Digest, digest_bytes

FORMAT = 1
MAX_MANIFEST_BYTES = 2 << 20
"""tomllib reads 6 MB/s. The seven small files that a manifest may hold take up to 1 MB as TOML; the rest about 3 KB."""
MAX_CONTENT_BYTES = 64 << 10
"""Of a small file that a manifest holds."""
MAX_KEY_LENGTH = 256
"""Characters. tomllib needs time quadratic in the length of a dotted key: 9 s for 40 KB."""
MAX_NESTING = 32
"""tomllib recurses once for each open bracket."""


def _check_path(text: str) -> str:
    try:
        return str(safe_path(text))
    except MalformedError as error:
        raise ValueError(error.message) from error


def _parse_digest(value: object) -> Digest:
    if isinstance(value, Digest):
        return value
    try:
        return Digest.parse(value if isinstance(value, str) else repr(value))
    except MalformedError as error:
        raise ValueError(error.message) from error


def _check_strong(digest: Digest) -> Digest:
    if digest.weak:
        raise ValueError(f"{digest.algorithm} is too weak to pin a file")
    return digest


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Line = Annotated[str, Field(min_length=1, max_length=2000)]
Count = Annotated[int, Field(gt=0, lt=1 << 62)]
Size = Annotated[int, Field(ge=0, lt=1 << 62)]
RelativePath = Annotated[str, AfterValidator(_check_path)]
BASE64 = r"^[A-Za-z0-9+/]*={0,2}$"
DIGEST_PATTERN = "^(" + "|".join(f"{name}:[0-9a-f]{{{length}}}" for name, length in HEX_LENGTHS.items()) + ")$"
DigestText = Annotated[
    Digest,
    BeforeValidator(_parse_digest),
    WithJsonSchema({"type": "string", "pattern": DIGEST_PATTERN}, mode="validation"),
]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2000)]


class _Table(BaseModel):
    """A TOML table whose every key is known."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, defer_build=True, json_schema_extra={"patternProperties": {"^x-": {}}}
    )

    @model_validator(mode="before")
    @classmethod
    def _ignore_foreign_keys(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        return {key: value for key, value in table.items() if not str(key).startswith("x-")}


class FilePlace(_Table):
    """A place from which one file can be downloaded by HTTP.

    The file begins at byte ``offset`` of what the URL serves, for example inside an uncompressed tar. With ``parts``,
    the file was cut into that many parts: the URL holds ``{part}`` for the number of a part, counted from 0, or
    ``{part:02}`` for a number of at least two digits.
    """

    url: Url
    offset: Size = 0
    parts: Annotated[int, Field(ge=0, le=10_000)] = 0

    @model_validator(mode="after")
    def _check_parts(self) -> "FilePlace":
        if bool(self.parts) != bool(PART_NUMBER.search(self.url)):
            raise ValueError("parts and {part} in the url belong together")
        if self.parts and self.offset:
            raise ValueError("a file in parts has no offset")
        return self


class ReleaseFile(_Table):
    """One file of the release; ``size`` in bytes. Without a digest, its content cannot be proven.

    A small file can be held whole: ``content`` is its text (UTF-8), ``content_base64`` its bytes where it is no text.
    Both agree with the size and with every digest.
    """

    path: RelativePath
    size: Size | None = None
    digests: tuple[DigestText, ...] = ()
    content: Annotated[str, Field(max_length=MAX_CONTENT_BYTES)] | None = None
    content_base64: Annotated[str, Field(max_length=(MAX_CONTENT_BYTES + 2) // 3 * 4, pattern=BASE64)] | None = None
    mirrors: tuple[FilePlace, ...] = ()

    @property
    def held(self) -> bytes | None:
        """The bytes of the file, where the manifest holds it."""
        if self.content is not None:
            return self.content.encode()
        return None if self.content_base64 is None else base64.b64decode(self.content_base64, validate=True)

    @model_validator(mode="after")
    def _check_content(self) -> "ReleaseFile":
        if self.content is not None and self.content_base64 is not None:
            raise ValueError("content and content_base64 exclude each other")
        try:
            held = self.held
        except ValueError as error:
            raise ValueError("its content cannot be read") from error
        if held is None:
            return self
        if len(held) > MAX_CONTENT_BYTES:
            raise ValueError(f"its content has {len(held)} bytes; {MAX_CONTENT_BYTES} is the limit")
        if self.size not in (None, len(held)):
            raise ValueError(f"its content has {len(held)} bytes, and its size is {self.size}")
        for digest in self.digests:
            if digest_bytes(digest.algorithm, held) != digest:
                raise ValueError(f"its content has another {digest.algorithm} than {digest.hex}")
        return self


class Mirror(_Table):
    """A place from which the release can be downloaded by HTTP: an uncompressed tar, or the folder of its files."""

    url: Url
    digests: tuple[DigestText, ...] = ()


class SideFile(_Table):
    """A file that lies beside the manifest, and its digest."""

    path: RelativePath
    digest: Annotated[DigestText, AfterValidator(_check_strong)]


class ArchitectureFacts(_Table):
    """What kind of model it is. Parameters are counted as single weights, ``context_length`` in tokens."""

    total_parameters: Count | None = None
    active_parameters: Count | None = None
    layers: Count | None = None
    experts: Size | None = None
    experts_per_token: Size | None = None
    context_length: Count | None = None
    dtype: Line | None = None


class Smoke(_Table):
    """What the smoke test must find: ``bits_per_byte`` on the text with the digest ``text``.

    ``tolerance`` is relative: 0.01 allows one per cent more or less. ``golden`` is the digest of the fingerprint, which
    holds what the model answered at each position. Without ``bits_per_byte``, only the fingerprint is compared.
    """

    text: Annotated[DigestText, AfterValidator(_check_strong)]
    bits_per_byte: Annotated[float, Field(gt=0, lt=64)] | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    golden: Annotated[DigestText, AfterValidator(_check_strong)] | None = None


class Manifest(_Table):
    """One release. ``files`` is None if the list of its files is not known.

    ``tensors`` is the side file with a digest for each tensor. ``info`` is a strong digest of the torrent's info
    dictionary, because the infohash of version 1 is only SHA-1.
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
    info: Annotated[DigestText, AfterValidator(_check_strong)] | None = None
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
        # Some file systems ignore case and Unicode form: there, the second file would overwrite the first.
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
        """Bytes of all files together; None if the size of one is not known."""
        sizes = [file.size for file in self.files or ()]
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest file. Raises ``ManifestError``; its message names the file and the key."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", hint="check the path", path=path) from error
    try:
        return parse_manifest(content, str(path))
    except ManifestError as error:
        error.path = path
        raise


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Parse and check the bytes of a manifest; messages name it by ``where``. Raises ``ManifestError``."""
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
        key = _key_of(error.errors(include_url=False, include_input=False)[0]["loc"])
        raise ManifestError(f"{where}: {'; '.join(_explain(error))}", hint="mend the manifest", key=key) from error


def _explain(error: ValidationError) -> Iterator[str]:
    """The first ten errors, each with the path of its key: ``files.0.path: …``."""
    for detail in error.errors(include_url=False, include_input=False)[:10]:
        key, message = _key_of(detail["loc"]), detail["msg"].removeprefix("Value error, ")
        yield f"{key}: {message}" if key else message


def _key_of(parts: tuple[int | str, ...]) -> str:
    return ".".join(map(str, parts))


def _lists_as_tuples(value: Any) -> Any:
    """Turn lists into tuples: TOML gives lists, the frozen tables hold tuples, and strict validation takes no other."""
    if isinstance(value, dict):
        return {key: _lists_as_tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_lists_as_tuples(inner) for inner in value)
    return value


def _parse_toml(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{where}: is larger than {MAX_MANIFEST_BYTES} bytes, which no manifest is")
    try:
        text = content.decode("utf-8")
        _bound_parse_time(text, where)
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: is not UTF-8 text: byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ManifestError(f"{where}: is not TOML: {error}") from error


def _bound_parse_time(text: str, where: str) -> None:
    """Refuse a document that would make tomllib slow, or recurse deeply."""
    lines = [_leave_strings_out(line) for line in text.splitlines()]
    for number, bare in enumerate(lines, start=1):
        if max((len(key) for key in re.split(r"[=,{]", bare)), default=0) > MAX_KEY_LENGTH and "." in bare:
            raise ManifestError(f"{where}: line {number} has a key or value of over {MAX_KEY_LENGTH} characters")
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", "\n".join(lines)):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise ManifestError(f"{where}: is nested {deepest} deep; {MAX_NESTING} is the limit")


STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|\'[^\']*(?:\'|$)')
"""A string in one line, or what is left of the line where a string does not end: so each character is read once."""


def _leave_strings_out(line: str) -> str:
    return STRING.sub(lambda match: '""' if len(match[0]) > 1 and match[0][0] == match[0][-1] else match[0], line)
