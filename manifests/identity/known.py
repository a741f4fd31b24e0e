"""Every release that the catalog and the user's catalog know, to be found by what weights are made of."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import ManifestError
from magnetar.files import replace_file
from magnetar.manifests.catalog import CATALOG_FOLDER, bundled_releases, catalog, side_files_folder
from magnetar.manifests.identity.index import (
    DIGEST_LENGTH,
    INDEX,
    MAX_INDEX_BYTES,
    IndexEntry,
    format_index,
    make_entry,
    parse_index,
)
from magnetar.manifests.schema import Manifest
from magnetar.manifests.tensor_digests import TensorDigests, load_tensor_digests
from magnetar.manifests.user_catalog import user_folder, user_releases

MAX_SUSPECTS = 8
"""Releases whose lists of tensors are read for one set of weights."""


@dataclass(frozen=True, slots=True)
class KnownReleases:
    """The releases by name. ``by_digest`` and ``by_parameters`` lead to the names of those that list their tensors.

    ``stale`` are the releases whose entry in the index was missing, or made from another list of tensors: it was made
    anew, in memory.
    """

    manifests: Mapping[str, Manifest]
    by_digest: Mapping[str, tuple[str, ...]]
    by_parameters: Mapping[int, tuple[str, ...]]
    stale: tuple[str, ...] = ()

    def suspects(self, tensors: Iterable[Iterable[str]], parameters: int) -> tuple[str, ...]:
        """Releases that list one of these tensors, those with the most first, then those with as many parameters.

        ``tensors`` has, for each tensor, its digest in every dtype (hex). ``parameters`` counts numbers.
        """
        votes = Counter[str]()
        for variants in tensors:
            votes.update({name for sha in variants for name in self.by_digest.get(sha[:DIGEST_LENGTH], ())})
        alike = (name for name in self.by_parameters.get(parameters, ()) if name not in votes)
        best = sorted(votes, key=lambda name: (-votes[name], name))
        return (*best, *alike)[:MAX_SUSPECTS]

    def tensors_of(self, name: str) -> TensorDigests | None:
        """The list of a release's tensors; None if it has none, or the file is not there, or another."""
        return _load_tensors(self.manifests[name])


def load_known() -> KnownReleases:
    """Read the indexes, and make anew what in them is stale. What cannot be read is left out."""
    written = {**_read_index(user_folder()), **_read_index(CATALOG_FOLDER)}
    manifests = catalog()
    by_digest, by_parameters = defaultdict[str, list[str]](list), defaultdict[int, list[str]](list)
    stale = []
    for name, manifest in manifests.items():
        if manifest.tensors is None:
            continue
        entry = written.get(name)
        if entry is None or entry.tensors != str(manifest.tensors.digest):
            entry = _make_entry(manifest)
            if entry is None:
                continue
            stale.append(name)
        by_parameters[entry.parameters].append(name)
        for digest in set(entry.digests):
            by_digest[digest].append(name)
    return KnownReleases(
        manifests,
        {digest: tuple(names) for digest, names in by_digest.items()},
        {count: tuple(names) for count, names in by_parameters.items()},
        tuple(stale),
    )


def bundled_index() -> bytes:
    """The index of the releases that ship, as their manifests give it."""
    return format_index(_entries_of(bundled_releases()))


def renew_user_index() -> None:
    """Write the index of the user's own releases. Raises ``NoSpace`` or ``DiskError``."""
    replace_file(user_folder() / INDEX, format_index(_entries_of(user_releases())))


def _entries_of(manifests: Mapping[str, Manifest]) -> dict[str, IndexEntry]:
    entries = {name: _make_entry(manifest) for name, manifest in manifests.items()}
    return {name: entry for name, entry in entries.items() if entry is not None}


def _make_entry(manifest: Manifest) -> IndexEntry | None:
    digests = _load_tensors(manifest)
    return make_entry(str(manifest.tensors.digest), digests) if digests and manifest.tensors else None


def _load_tensors(manifest: Manifest) -> TensorDigests | None:
    if manifest.tensors is None:
        return None
    try:
        return load_tensor_digests(side_files_folder(manifest.name) / manifest.tensors.path, manifest.tensors.digest)
    except ManifestError:
        return None


def _read_index(folder: Path) -> dict[str, IndexEntry]:
    """The entries of an index; none where it is not there, or damaged: it is made anew then."""
    path = folder / INDEX
    try:
        with path.open("rb") as stream:
            return parse_index(stream.read(MAX_INDEX_BYTES + 1), str(path))
    except (OSError, ManifestError):
        return {}
