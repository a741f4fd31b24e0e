"""A digest for each tensor of a release, in a JSON file beside its manifest.

A conversion changes every file, and leaves the numbers of each tensor as they are, so these digests still hold. The
file is JSON because a release has thousands of tensors, and tomllib reads only 6 MB/s. It has one tensor a line, so
that a diff of two files is readable. Reading is as strict as for the manifest: unknown keys are errors.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magnetar.errors import ManifestError
from magnetar.manifests.hashing.digests import Digest, new_hasher

FORMAT = 1
MAX_TENSOR_LIST_BYTES = 16 << 20
"""The largest release of the catalog has 1,739 tensors, which take a quarter of a million bytes."""

MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 8
MAX_SLICES = 64
MAX_SLICE_NUMBERS = 1 << 16
KEYS = {"format", "layout", "tensors"}
SLICES = "slices"
"""An optional key. Files that were written before there were slices have none."""

DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
LAYOUT = re.compile(r"[a-z0-9][a-z0-9 ._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """A tensor: its dtype as safetensors spells it, its shape, and the SHA-256 of its bytes as lower-case hex.

    The bytes are the tensor's numbers in row-major order, little-endian.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class SliceDigest:
    """The SHA-256 (hex) of the bytes of ``count`` numbers of a tensor, from number ``first`` on, in row-major order."""

    first: int
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TensorDigests:
    """The digests of all tensors of a release. Names are those of ``layout``, the layout that the release came in.

    ``slices`` are digests of small parts of some large matrices, by the names of these. Whoever wants to know which
    release some weights may be reads only these parts.
    """

    layout: str
    tensors: Mapping[str, TensorDigest]
    slices: Mapping[str, SliceDigest] = field(default_factory=dict)


def load_tensor_digests(path: Path, pinned: Digest | None = None) -> TensorDigests:
    """Read a side file. ``pinned`` is the digest that the manifest gives for the side file.

    Raises ``ManifestError`` if the file cannot be read, has another digest, or is malformed.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_TENSOR_LIST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", hint="check the path", path=path) from error
    if pinned is not None:
        hasher = new_hasher(pinned.algorithm)
        hasher.update(memoryview(content))
        if hasher.hexdigest() != pinned.hex:
            raise ManifestError(
                f"{path}: is not the list of tensors that the manifest names: its {pinned.algorithm} is "
                f"{hasher.hexdigest()}, not {pinned.hex}",
                hint="get it from where the manifest came from",
                path=path,
            )
    try:
        return parse_tensor_digests(content, str(path))
    except ManifestError as error:
        error.path = path
        raise


def parse_tensor_digests(content: bytes, where: str) -> TensorDigests:
    """Parse and check the bytes of a side file; messages name it by ``where``. Raises ``ManifestError``."""
    document = _parse_json(content, where)
    _check_format(document.get("format"), where)
    if set(document) - {SLICES} != KEYS:
        odd = ", ".join(sorted(str(key)[:40] for key in (set(document) - {SLICES}) ^ KEYS)[:5])
        raise ManifestError(f"{where}: should hold {', '.join(sorted(KEYS))}; look at {odd}")
    layout, tensors = document["layout"], document["tensors"]
    if not isinstance(layout, str) or not LAYOUT.fullmatch(layout):
        raise ManifestError(f"{where}: layout is {str(layout)[:80]!r}, which is no layout's name")
    if not isinstance(tensors, dict) or not tensors:
        raise ManifestError(f"{where}: tensors should be an object that names at least one")
    read = {name: _read_tensor(name, entry, where) for name, entry in tensors.items()}
    return TensorDigests(layout, read, _read_slices(document.get(SLICES, {}), read, where))


def format_tensor_digests(digests: TensorDigests) -> bytes:
    """The bytes of the side file. The same digests always give the same bytes."""
    lines = [
        f"{json.dumps(name)}: {json.dumps([tensor.dtype, list(tensor.shape), tensor.sha256])}"
        for name, tensor in digests.tensors.items()
    ]
    slices = [
        f"{json.dumps(name)}: {json.dumps([part.first, part.count, part.sha256])}"
        for name, part in digests.slices.items()
    ]
    begin = f'{{"format": {FORMAT}, "layout": {json.dumps(digests.layout)}, "tensors": {{\n'
    end = '\n}, "slices": {\n' + ",\n".join(slices) + "\n}}\n" if slices else "\n}}\n"
    return (begin + ",\n".join(lines) + end).encode("ascii")


def _parse_json(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > MAX_TENSOR_LIST_BYTES:
        raise ManifestError(f"{where}: is larger than {MAX_TENSOR_LIST_BYTES} bytes, which no list of tensors is")
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is not a list of tensors in JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: is not one JSON object")
    return document


def _check_format(version: object, where: str) -> None:
    if type(version) is int and version > FORMAT:
        raise ManifestError(
            f"{where}: is of format {str(version)[:20]}, and this Magnetar reads format {FORMAT}",
            hint="upgrade Magnetar",
        )
    if type(version) is not int or version != FORMAT:
        raise ManifestError(f"{where}: format is {str(version)[:40]!r}, not {FORMAT}")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is there twice")
    return table


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _read_tensor(name: str, entry: object, where: str) -> TensorDigest:
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable() or "/" in name or "\\" in name or ".." in name:
        raise ManifestError(f"{where}: {name[:80]!r} is not a plain tensor name")
    if not isinstance(entry, list) or len(entry) != 3:
        raise ManifestError(f"{where}: {name} should be a list of its dtype, shape and SHA-256")
    dtype, shape, sha256 = entry
    if not isinstance(dtype, str) or not DTYPE.fullmatch(dtype):
        raise ManifestError(f"{where}: {name} has the dtype {str(dtype)[:40]!r}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_count(size) for size in shape):
        raise ManifestError(f"{where}: {name} has an impossible shape")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ManifestError(f"{where}: {name} has no SHA-256 of 64 lower-case hex digits")
    return TensorDigest(dtype, tuple(shape), sha256)


def _read_slices(entries: object, tensors: Mapping[str, TensorDigest], where: str) -> dict[str, SliceDigest]:
    if not isinstance(entries, dict) or len(entries) > MAX_SLICES:
        raise ManifestError(f"{where}: slices should be an object of at most {MAX_SLICES} tensors")
    return {name: _read_slice(name, entry, tensors, where) for name, entry in entries.items()}


def _read_slice(name: str, entry: object, tensors: Mapping[str, TensorDigest], where: str) -> SliceDigest:
    if name not in tensors:
        raise ManifestError(f"{where}: there is a slice of {name[:80]!r}, which is no tensor of this release")
    if not isinstance(entry, list) or len(entry) != 3:
        raise ManifestError(f"{where}: the slice of {name} should be its first number, their count and SHA-256")
    first, count, sha256 = entry
    if not _is_count(first) or not _is_count(count) or not 0 < count <= MAX_SLICE_NUMBERS:
        raise ManifestError(f"{where}: the slice of {name} should have 1 to {MAX_SLICE_NUMBERS} numbers")
    if first + count > math.prod(tensors[name].shape):
        raise ManifestError(f"{where}: the slice of {name} reaches beyond its tensor")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ManifestError(f"{where}: the slice of {name} has no SHA-256 of 64 lower-case hex digits")
    return SliceDigest(first, count, sha256)


def _is_count(size: object) -> bool:
    return type(size) is int and 0 <= size < 1 << 48
