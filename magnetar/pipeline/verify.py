"""Verification with all that is known: the manifest's digests, the pieces of the torrent, what an earlier run noted."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.checking.choose_manifest import ChosenManifest, Trust
from magnetar.manifests.checking.report import PieceCheck, VerifyReport
from magnetar.manifests.checking.verified_index import VerifiedIndex
from magnetar.manifests.checking.verify import VerifyOptions, proofs_of, verify
from magnetar.manifests.folder.layout import SIGNATURE, published_manifest
from magnetar.manifests.folder.origin import read_origin
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.folder.release_folder import (
    _choose,
    _complete,
    _is_converted,
    _kept_torrent,
    _lists_the_same,
    find_parts,
    names_torrent,
)

if TYPE_CHECKING:  # verifying a folder that no torrent is involved in needs no libtorrent
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.pipeline.proving.verify_converted import Proven


@dataclass(frozen=True, slots=True)
class Asked:
    """How the user wants something verified.

    ``quick`` believes what an earlier run noted of files that are unchanged; ``strict`` and ``fail_fast`` are those of
    ``VerifyOptions``. ``reference`` is the release, for the error of a quantised copy.
    """

    quick: bool = False
    strict: bool = False
    fail_fast: bool = False
    reference: Path | None = None


PLAINLY = Asked()


def verify_fetched(fetched: "Fetched", emit: Emit = ignore) -> VerifyReport:
    """Hold a download that has just ended, every piece of it checked, against its manifest.

    Where no manifest is known, the files are still those that the link names, and nothing more is said.
    """
    index = VerifiedIndex(fetched.folder)
    pinned = find_by_infohash(fetched.metadata.infohash_v1, fetched.metadata.infohash_v2)
    choice = ChosenManifest(pinned, "the release that the link names", Trust.RELEASE) if pinned else None
    choice = _complete(choice, fetched.metadata)
    pieces = PieceCheck(frozenset()) if fetched.complete else None
    options = VerifyOptions(pieces=pieces, left_out=fetched.left_out, index=index)
    report = verify(fetched.folder, choice, options, emit=emit)
    index.save()
    return report


def verify_unsigned(
    path: Path, named: str | None, asked: Asked = PLAINLY, *, emit: Emit = ignore
) -> "VerifyReport | Proven":
    """As ``verify_any``; a signature that nobody asked about is not shown as trust, and not passed over either."""
    manifest = Path(named) if named else published_manifest(path)
    if manifest is not None and manifest.with_name(manifest.name + SIGNATURE).is_file():
        emit(Remarked(f"{manifest}: has a signature, which adds no trust until you say whose: --public-key FILE"))
    return verify_any(path, named, asked, emit=emit)


def verify_any(
    path: Path, named: str | None, asked: Asked = PLAINLY, *, emit: Emit = ignore
) -> "VerifyReport | Proven":
    """Verify a release's folder file by file, and a converted copy of it tensor by tensor.

    A converted copy is a single checkpoint file, or a folder that notes what it was converted from, or one whose
    weights are in other files than those of the release that was named.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder", hint="name what holds the weights")
    if path.is_dir() and not _is_converted(path, named):
        return verify_folder(path, named, asked, emit=emit)
    from magnetar.pipeline.proving.verify_converted import prove_copy

    return prove_copy(path, named, reference=asked.reference, emit=emit)


def verify_folder(folder: Path, named: str | None, asked: Asked = PLAINLY, *, emit: Emit = ignore) -> VerifyReport:
    """Hold a folder against the manifest that was named, or the one that fits.

    A folder that was fetched remembers its torrent: its pieces decide on the files that the manifest has no digest
    for, and on all of them where there is no manifest; and they tell where a damaged file is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    index = VerifiedIndex(folder)
    torrent = _kept_torrent(folder)
    choice, pieces = _choose(folder, named, torrent), None
    if choice is None or (torrent and _leaves_gaps(choice.manifest)):
        choice, pieces = _decide_by_pieces(folder, torrent, choice, index if asked.quick else None, emit)
    options = VerifyOptions(
        pieces=pieces,
        parts=find_parts(folder, choice.manifest),
        index=index,
        quick=asked.quick,
        strict=asked.strict,
        fail_fast=asked.fail_fast,
    )
    try:
        report = verify(folder, choice, options, emit=emit)
    finally:
        index.save()  # after Ctrl-C too: --quick then goes on with the files that were not read
    return _locate(report, choice.manifest, torrent, emit) if torrent and report.findings else report


def _leaves_gaps(manifest: Manifest) -> bool:
    """Whether a file, or the list of them, is without a digest."""
    return manifest.files is None or any(not file.digests for file in manifest.files)


def _decide_by_pieces(
    folder: Path, torrent: bytes, choice: ChosenManifest | None, index: VerifiedIndex | None, emit: Emit
) -> tuple[ChosenManifest, PieceCheck | None]:
    """The choice with every file that the torrent has, and what hashing the pieces found.

    No piece is hashed if the torrent is not the one that the manifest pins, or if the ``index`` knows all the files
    that have no digest.
    """
    from magnetar.fetch.download.check_on_disk import check_pieces
    from magnetar.fetch.torrent.metainfo import read_torrent

    metadata = read_torrent(torrent)
    if choice is not None and not names_torrent(choice.manifest, metadata):
        return choice, None
    choice = _complete(choice, metadata)
    if index is not None and _all_known(folder, choice.manifest, index):
        return choice, None
    return choice, PieceCheck(frozenset(check_pieces(folder, torrent, emit=emit).damaged))


def _all_known(folder: Path, manifest: Manifest, index: VerifiedIndex) -> bool:
    """Whether an earlier run checked the pieces of every file without a digest, and none has changed since."""
    for file in manifest.files or ():
        try:
            status = (folder / file.path).stat()
        except OSError:
            return False
        if not file.digests and index.recall(file.path, status, proofs_of(file, manifest)) is None:
            return False
    return True


def _locate(report: VerifyReport, manifest: Manifest, torrent: bytes, emit: Emit) -> VerifyReport:
    """The report with the damage located, if the torrent is of the release that the folder was held against."""
    from magnetar.fetch.torrent.metainfo import read_torrent
    from magnetar.pipeline.proving.locate_damage import locate

    metadata = read_torrent(torrent)
    if not names_torrent(manifest, metadata) and not _lists_the_same(manifest, metadata):
        return report
    origin = read_origin(Path(report.folder))
    unfinished = origin is not None and not origin.complete
    return locate(report, torrent, metadata, unfinished=unfinished, emit=emit)
