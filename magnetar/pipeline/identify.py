"""``identify``: which release some weights are, by what they are made of.

A look at a few MB gives a candidate. Only ``full`` reads everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.byte_source import LocalFolder
from magnetar.errors import MagnetarError
from magnetar.events import Began, Emit, Ended, Moved, Remarked, Step, ignore
from magnetar.findings import Outcome, Question
from magnetar.manifests.hashing.digests import digest_files
from magnetar.manifests.identity.evidence import ORDER, Candidate, Certainty, Tally
from magnetar.manifests.identity.known import KnownReleases, load_known
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.folder.look_at_weights import LARGE_FILE, IdentifiedSet, find_candidate, look_at, unreadable
from magnetar.pipeline.folder.release_folder import ReleaseFolder

if TYPE_CHECKING:  # reading weights brings numpy
    from magnetar.convert.identify.counted_folder import CountedFolder

__all__ = ["Identity", "find_candidate", "identify"]

MOST = 0.5
"""With a smaller share of equal bytes, weights are related to a release; above, they are not quite it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which release the weights at ``path`` are.

    ``release`` is a name, empty where it is not known. ``certainty`` is that of the set of weights of which the least
    is known, since a runtime may load any of them. ``read`` counts bytes. ``full`` says that everything was to be read.
    ``stale`` are releases whose entry in the index was made anew.
    """

    path: Path
    release: str
    certainty: Certainty
    sets: tuple[IdentifiedSet, ...]
    read: int
    full: bool
    stale: tuple[str, ...] = field(default=())

    question = Question.BYTES

    @property
    def share(self) -> float | None:
        """The share of the release's bytes that agree, 0 to 1, in the set with the least; None if not all were read."""
        shares = [found.proof.share if found.proof else None for found in self.sets]
        known = [share for share in shares if share is not None]
        return min(known) if known and len(known) == len(shares) else None

    @property
    def outcome(self) -> Outcome:
        """Good where the release is found: as a candidate, or with ``full`` if it is the release. Bad if not quite."""
        if any(found.failed for found in self.sets):
            return Outcome.FAILED
        if self.certainty is Certainty.IS or (self.certainty is Certainty.CANDIDATE and not self.full):
            return Outcome.GOOD
        return Outcome.BAD if self.certainty is Certainty.IS_NOT_QUITE else Outcome.UNKNOWN


def identify(folder: ReleaseFolder, *, full: bool = False, emit: Emit = ignore) -> Identity:
    """Find the release by content. ``full`` reads the weights whole, and every tensor is compared.

    A set of weights that cannot be read is in the result with the reason. Raises ``DiskError`` if the folder cannot be
    listed.
    """
    from magnetar.convert.identify.counted_folder import CountedFolder

    known = load_known()
    if known.stale:
        names = ", ".join(known.stale[:5])
        emit(Remarked(f"the index of the catalog is stale for {names}: it was made anew, in memory only"))
    looked = look_at(folder, known)
    sets, read = looked.sets, looked.read
    if full:
        whole = CountedFolder(LocalFolder(folder.root))
        sets = tuple(_prove(whole, folder.root, found, known, emit) for found in sets)
        read += whole.read
    return _sum_up(folder.path, sets, read, full, known.stale)


def _sum_up(path: Path, sets: Sequence[IdentifiedSet], read: int, full: bool, stale: tuple[str, ...]) -> Identity:
    named = {found.best.release for found in sets if found.best is not None}
    certainty = max((found.certainty for found in sets), key=ORDER.index, default=Certainty.UNKNOWN)
    if len(named) > 1:
        certainty = Certainty.UNKNOWN
    return Identity(
        path=path,
        release=named.pop() if len(named) == 1 else "",
        certainty=certainty,
        sets=tuple(sets),
        read=read,
        full=full,
        stale=stale,
    )


def _prove(
    folder: "CountedFolder", root: Path, found: IdentifiedSet, known: KnownReleases, emit: Emit
) -> IdentifiedSet:
    """Read a set of weights whole, and compare it with the best release that it may be."""
    from magnetar.convert.compare.proof import Standing
    from magnetar.convert.identify.open_weights import open_weights
    from magnetar.convert.identify.prove_all import prove_all

    best = found.best
    digests = known.tensors_of(best.release) if best else None
    if best is None:
        return found
    if digests is None:
        return _prove_files(folder, root, found, best, known.manifests[best.release], emit)
    try:
        weights = open_weights(folder, found.files)
        try:
            proof = prove_all(weights, digests, emit)
        finally:
            weights.close()
    except MagnetarError as error:
        return replace(unreadable(found.files, error), layout=found.layout)
    if proof.proof.outcome is Outcome.GOOD:
        certainty = Certainty.IS
    elif proof.proof.outcome is Outcome.UNKNOWN:  # nothing differs, and what was rounded cannot be compared
        certainty = best.certainty
    elif proof.share >= MOST:
        certainty = Certainty.IS_NOT_QUITE
    elif proof.proof.of(Standing.SAME):
        certainty = Certainty.RELATED
    else:
        certainty = Certainty.UNKNOWN
    return replace(found, candidates=(replace(best, certainty=certainty), *found.candidates[1:]), proof=proof)


def _prove_files(
    folder: "CountedFolder", root: Path, found: IdentifiedSet, best: Candidate, manifest: Manifest, emit: Emit
) -> IdentifiedSet:
    """Hash every file of weights, for a release whose tensors nobody has digested: it is the one if all files agree.

    Where a digest is only MD5 or SHA-1, it stays a candidate.
    """
    wanted = [file for file in manifest.files or () if file.digests and (file.size or LARGE_FILE) >= LARGE_FILE]
    algorithms = sorted({digest.algorithm for file in wanted for digest in file.digests})
    if not wanted:
        return found
    sizes = folder.sizes
    emit(Began(Step.VERIFY, sum(sizes[name] for name in found.files)))

    def count(length: int) -> None:
        folder.count(length)
        emit(Moved(Step.VERIFY, length))

    try:
        there = {digest for digests in digest_files(root, found.files, algorithms, count) for digest in digests}
    except MagnetarError as error:
        return replace(unreadable(found.files, error), layout=found.layout)
    emit(Ended(Step.VERIFY))
    same = [file for file in wanted if there.issuperset(file.digests)]
    weak = any(all(digest.weak for digest in file.digests) for file in same)
    certainty = best.certainty
    if len(same) == len(wanted):
        certainty = Certainty.CANDIDATE if weak else Certainty.IS
    proven = replace(best, certainty=certainty, hashed=Tally(len(same), len(wanted)), weak=weak)
    return replace(found, candidates=(proven, *found.candidates[1:]))
