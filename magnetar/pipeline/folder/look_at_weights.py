"""What is in a folder by content: every set of weights, and the releases of the catalog that each may be.

Names of files, notes beside the weights and configurations are not asked. A few MB are read: headers, norms, routers,
and the slices of large matrices that manifests list.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from magnetar.byte_source import LocalFolder, read_file
from magnetar.errors import MagnetarError, OutsideError
from magnetar.manifests.hashing.digests import Digest, new_hasher
from magnetar.manifests.identity.evidence import ORDER, Agreement, Candidate, Certainty, Tally, is_ambiguous, rank
from magnetar.manifests.identity.known import KnownReleases, load_known
from magnetar.manifests.schema import Manifest, ReleaseFile

if TYPE_CHECKING:  # reading weights brings numpy
    from magnetar.convert.identify.counted_folder import CountedFolder
    from magnetar.convert.identify.open_weights import Weights
    from magnetar.convert.identify.prove_all import WholeProof
    from magnetar.pipeline.folder.release_folder import ReleaseFolder

QUICK_BYTES = 7_900_000
"""What is read at most of a folder, but for ``full``."""

LARGE_FILE = 1 << 20
"""A file of so many bytes is known by its size. A smaller one is hashed, if one of its size is known."""

MAX_SETS = 64
"""Sets of weights in one folder that are opened, each with a file or more at the same time."""

TOKENIZERS = ("tokenizer", "tekken", "vocab")
"""How the names of files begin that hold a vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedSet:
    """One set of weights: the names of its files, and the releases that it may be, the best first.

    ``layout`` is the one that the names of its tensors tell, empty where the set cannot be opened; then ``reason`` says
    why, and ``failed`` whether it was the disk. ``proof`` is what reading it whole has found.
    """

    files: tuple[str, ...]
    layout: str = ""
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    failed: bool = False
    proof: "WholeProof | None" = None

    @property
    def best(self) -> Candidate | None:
        """The release that it most likely is. None where nothing is known, or nothing tells two of them apart."""
        if not self.candidates or is_ambiguous(self.candidates):
            return None
        return self.candidates[0]

    @property
    def certainty(self) -> Certainty:
        """That of the best candidate."""
        return self.best.certainty if self.best else Certainty.UNKNOWN


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Every set of weights at a path, and how many bytes were read of them."""

    sets: tuple[IdentifiedSet, ...]
    read: int


def find_candidate(folder: "ReleaseFolder") -> Candidate | None:
    """The release of the catalog that the weights in a folder, or in a file, may be; None if none is known.

    At most ``QUICK_BYTES`` are read. Of several sets of weights the best known counts. Whatever the folder holds, this
    raises nothing: what cannot be read is not known.
    """
    try:
        sets = look_at(folder, load_known()).sets
    except MagnetarError:
        return None
    found = [found.best for found in sets if found.best is not None]
    return min(found, key=lambda candidate: ORDER.index(candidate.certainty), default=None)


def look_at(folder: "ReleaseFolder", known: KnownReleases) -> LookedAt:
    """Look at every set of weights, reading at most ``QUICK_BYTES``.

    A set that cannot be read is in the result with the reason. Raises ``DiskError`` if the folder cannot be listed.
    """
    from magnetar.convert.identify.counted_folder import CountedFolder

    counted = CountedFolder(LocalFolder(folder.root), QUICK_BYTES)
    sets = _look_at_all(counted, _sets_of(folder, counted), known)
    return LookedAt(tuple(sets), counted.read)


def _sets_of(folder: "ReleaseFolder", counted: "CountedFolder") -> Sequence[tuple[str, ...]]:
    """Every set in the folder, or the one that the named file belongs to."""
    from magnetar.convert.identify.find_sets import find_sets

    try:
        sets = find_sets(counted)
    except OutsideError:
        return [folder.names] if folder.is_folder else [(folder.path.name,)]
    if folder.is_folder:
        return sets
    return [files for files in sets if folder.path.name in files] or [(folder.path.name,)]


def _look_at_all(folder: "CountedFolder", sets: Sequence[tuple[str, ...]], known: KnownReleases) -> list[IdentifiedSet]:
    """Open every set, and look at each model that they are, or are parts of."""
    from magnetar.convert.identify.open_weights import unite_parts

    opened, unreadable = list["Weights"](), list[IdentifiedSet]()
    try:
        for files in sets[:MAX_SETS]:
            found = _open(folder, files, known)
            if isinstance(found, IdentifiedSet) and len(files) > 1:  # they do not belong together
                alone = [_open(folder, (name,), known) for name in files[:MAX_SETS]]
            else:
                alone = [found]
            for one in alone:
                if isinstance(one, IdentifiedSet):
                    unreadable.append(one)
                else:
                    opened.append(one)
        unreadable += [
            IdentifiedSet(files=files, reason=f"is more than the {MAX_SETS} sets that are looked at")
            for files in sets[MAX_SETS:]
        ]
        looked = [_look_at(folder, weights, known) for weights in unite_parts(opened)]
    finally:
        for weights in opened:
            weights.close()
    return sorted((*looked, *unreadable), key=lambda found: found.files)


def _open(folder: "CountedFolder", files: tuple[str, ...], known: KnownReleases) -> "Weights | IdentifiedSet":
    from magnetar.convert.identify.open_weights import open_weights

    try:
        return open_weights(folder, files)
    except MagnetarError as error:
        try:
            return unreadable(files, error, _compare_files(folder, files, known))
        except MagnetarError:
            return unreadable(files, error)


def _look_at(folder: "CountedFolder", weights: "Weights", known: KnownReleases) -> IdentifiedSet:
    """Read a little of one set of weights, and hold it against every release that it may be."""
    from magnetar.convert.identify.compare import compare, look_at_small

    agreements = dict[str, Agreement]()
    try:
        by_files = _compare_files(folder, weights.files, known)
        small = look_at_small(weights)
        for name in known.suspects((tensor.digests.values() for tensor in small), weights.checkpoint.parameters):
            digests = known.tensors_of(name)
            if digests is not None:
                agreements[name] = compare(weights, small, digests)
    except MagnetarError as error:
        return unreadable(weights.files, error)
    for name, manifest in known.manifests.items():
        if name in agreements or manifest.tensors is None:
            seen = agreements.get(name, Agreement())
            agreements[name] = replace(seen, parameters=_has_parameters(weights, manifest))
    for name, by_file in by_files.items():
        seen = agreements.get(name, Agreement())
        agreements[name] = replace(seen, sizes=by_file.sizes, files=by_file.files, tokenizer=by_file.tokenizer)
    # Of releases that are the same under two names, the one that ships comes before the one that was added.
    ordered = [(name, agreements[name]) for name in known.manifests if name in agreements]
    return IdentifiedSet(files=weights.files, layout=weights.layout, candidates=rank(ordered))


def unreadable(
    files: tuple[str, ...], error: MagnetarError, by_files: "Mapping[str, Agreement]" = MappingProxyType({})
) -> IdentifiedSet:
    """A set that could not be read, with the reason, and what the sizes and digests of files tell all the same."""
    from magnetar.convert.identify.counted_folder import TooMuchToRead

    failed = isinstance(error, OutsideError) and not isinstance(error, TooMuchToRead)
    return IdentifiedSet(files=files, reason=error.message, failed=failed, candidates=rank(by_files.items()))


def _has_parameters(weights: "Weights", manifest: Manifest) -> bool:
    """Whether there are as many numbers, layers and experts as the manifest says."""
    facts, found = manifest.architecture, weights.architecture
    if facts.total_parameters != weights.checkpoint.parameters:
        return False
    pairs = ((facts.layers, found.n_layers), (facts.experts, found.n_experts)) if found else ()
    return all(stated in (None, there) for stated, there in pairs)


def _compare_files(folder: "CountedFolder", files: Sequence[str], known: KnownReleases) -> dict[str, Agreement]:
    """What the files tell by their sizes and digests, whatever they are called: for each release of which some agree.

    Only small files are hashed, and only those of a size that a release has. Raises ``OutsideError``.
    """
    sizes = dict(folder.sizes)
    weights = {sizes.get(name) for name in files}
    by_size = defaultdict[int, list[str]](list)
    for name, size in sizes.items():
        by_size[size].append(name)
    hashes = _Hashes(folder)
    found = {}
    for name, manifest in known.manifests.items():
        listed = [file for file in manifest.files or () if file.size]
        large = [file for file in listed if (file.size or 0) >= LARGE_FILE]
        small = [file for file in listed if (file.size or 0) < LARGE_FILE and _strong(file)]
        same = [
            file
            for file in small
            if any(hashes.of(there, digest) for there in by_size[file.size or 0] for digest in _strong(file)[:1])
        ]
        if same or any(file.size in weights for file in large):
            found[name] = Agreement(
                sizes=Tally(sum(file.size in weights for file in large), len(large)),
                files=Tally(len(same), len(small)),
                tokenizer=any(Path(file.path).name.startswith(TOKENIZERS) for file in same),
            )
    return found


def _strong(file: ReleaseFile) -> tuple[Digest, ...]:
    return tuple(digest for digest in file.digests if not digest.weak)


class _Hashes:
    """Digests of small files, each read once."""

    def __init__(self, folder: "CountedFolder") -> None:
        self._folder = folder
        self._contents: dict[str, bytes] = {}

    def of(self, name: str, digest: Digest) -> bool:
        """Whether a file has that digest."""
        if name not in self._contents:
            self._contents[name] = read_file(self._folder, name)
        hasher = new_hasher(digest.algorithm)
        hasher.update(memoryview(self._contents[name]))
        return hasher.hexdigest() == digest.hex
