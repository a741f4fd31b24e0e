"""The index beside a catalog: for each release that lists its tensors, the beginning of the digest of each.

It is JSON: ``{"format": 1, "releases": {NAME: {"tensors": DIGEST, "parameters": COUNT, "digests": HEX}}}``. ``tensors``
is the digest of the side file that it was made from, as the manifest pins it: where the two differ, the entry is stale.
``digests`` is 16 hex digits for each tensor, in the order of the side file. What else a release is known by, its files
and sizes, is in its manifest, which is read anyway.

An index only says where to look: what it finds is held against the whole digests in the side file.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from magnetar.errors import ManifestError
from magnetar.manifests.tensor_digests import TensorDigests

FORMAT = 1
INDEX = "index.json"
MAX_INDEX_BYTES = 64 << 20
DIGEST_LENGTH = 16
"""Hex digits, or 8 bytes: among a million tensors two alike by chance are a matter of one in thirty million."""

HEX = re.compile(r"(?:[0-9a-f]{16})*")
KEYS = {"tensors", "parameters", "digests"}


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A release: the digest of its side file as text, how many numbers its tensors hold, and truncated digests."""

    tensors: str
    parameters: int
    digests: tuple[str, ...]


def make_entry(pinned: str, digests: TensorDigests) -> IndexEntry:
    """The entry of a release whose side file has the digest ``pinned``."""
    return IndexEntry(
        pinned,
        sum(math.prod(tensor.shape) for tensor in digests.tensors.values()),
        tuple(tensor.sha256[:DIGEST_LENGTH] for tensor in digests.tensors.values()),
    )


def format_index(entries: Mapping[str, IndexEntry]) -> bytes:
    """The bytes of an index, one release a line. The same entries always give the same bytes."""
    lines = [
        json.dumps(name)
        + ": "
        + json.dumps({"tensors": entry.tensors, "parameters": entry.parameters, "digests": "".join(entry.digests)})
        for name, entry in sorted(entries.items())
    ]
    return (f'{{"format": {FORMAT}, "releases": {{\n' + ",\n".join(lines) + "\n}}\n").encode("ascii")


def parse_index(content: bytes, where: str) -> dict[str, IndexEntry]:
    """Parse and check an index; messages name it by ``where``. Raises ``ManifestError``."""
    if len(content) > MAX_INDEX_BYTES:
        raise ManifestError(f"{where}: is larger than {MAX_INDEX_BYTES} bytes, which no index is")
    try:
        document = json.loads(content)
        version, releases = document["format"], document["releases"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestError(f"{where}: is no index: {str(error)[:200]}") from error
    if type(version) is not int or version != FORMAT or not isinstance(releases, dict):
        raise ManifestError(f"{where}: is of format {str(version)[:20]}, not {FORMAT}")
    return {name: _parse_entry(name, entry, where) for name, entry in releases.items()}


def _parse_entry(name: str, entry: Any, where: str) -> IndexEntry:
    if not isinstance(entry, dict) or set(entry) != KEYS:
        raise ManifestError(f"{where}: {name[:80]} should have {', '.join(sorted(KEYS))}")
    tensors, parameters, digests = entry["tensors"], entry["parameters"], entry["digests"]
    if not isinstance(tensors, str) or type(parameters) is not int or not isinstance(digests, str):
        raise ManifestError(f"{where}: {name[:80]} has a value of the wrong kind")
    if not HEX.fullmatch(digests):
        raise ManifestError(f"{where}: {name[:80]} has digests that are not of 16 hex digits each")
    cut = tuple(digests[start : start + DIGEST_LENGTH] for start in range(0, len(digests), DIGEST_LENGTH))
    return IndexEntry(tensors, parameters, cut)
