"""Every file of a folder held against a manifest, with the pieces of its torrent where the manifest has no digest."""

from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import DiskError, UsageError
from magnetar.events import Emit, ignore
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verified_index import VerifiedIndex
from magnetar.manifests.checking.verify import VerifyOptions, proofs_of, verify
from magnetar.manifests.checking.verify_report import PieceCheck, VerifyReport
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.folder.find_parts import find_parts
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.verify_request import VerifyRequest

if TYPE_CHECKING:  # verifying a folder that no torrent is involved in needs no libtorrent
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.fetch.torrent.metadata import Metadata


def verify_files(request: VerifyRequest, emit: Emit = ignore, choice: ChosenManifest | None = None) -> VerifyReport:
    """Hold the files of a folder against ``choice``; without one, against what it was just fetched as, or its torrent.

    A folder that was fetched keeps its torrent. The pieces of the torrent decide on the files that the manifest has no
    digest for, and on all files where there is no manifest. They also tell where a damaged file is damaged.
    """
    folder = request.folder
    if not folder.is_folder:
        raise UsageError(f"{folder.path}: is not a folder", hint="name the folder that holds the release's files")
    index = VerifiedIndex(folder.root)
    choice, pieces = _choose(request, choice, index, emit)
    options = VerifyOptions(
        pieces=pieces,
        left_out=request.fetched.left_out if request.fetched else (),
        parts={} if request.fetched else find_parts(folder.root, choice.manifest),
        index=index,
        quick=request.quick,
        strict=request.strict,
        fail_fast=request.fail_fast,
    )
    try:
        report = verify(folder.root, choice, options, emit=emit)
    finally:
        index.save()  # after Ctrl-C too: --quick then goes on with the files that were not read
    return _locate_damage(report, choice.manifest, folder, emit) if report.findings else report


def _choose(
    request: VerifyRequest, choice: ChosenManifest | None, index: VerifiedIndex, emit: Emit
) -> tuple[ChosenManifest, PieceCheck | None]:
    """What to hold the folder against, and what is known of the pieces; None if they were not looked at."""
    if request.fetched is not None:
        return _choose_fetched(request.fetched)
    folder = request.folder
    if folder.metadata is not None and (choice is None or _leaves_gaps(choice.manifest)):
        return _decide_by_pieces(folder, folder.metadata, choice, index if request.quick else None, emit)
    return choice or folder.choose(request.named), None


def _choose_fetched(fetched: "Fetched") -> tuple[ChosenManifest, PieceCheck | None]:
    """A download that has just ended is what its link names, and its pieces were just hashed."""
    from magnetar.pipeline.folder.match_torrent import fill_from_torrent

    pinned = find_by_infohash(fetched.metadata.infohash_v1, fetched.metadata.infohash_v2)
    choice = ChosenManifest(pinned, "the release that the link names", Voucher.CATALOG) if pinned else None
    return fill_from_torrent(choice, fetched.metadata), PieceCheck(frozenset()) if fetched.complete else None


def _leaves_gaps(manifest: Manifest) -> bool:
    """Whether a file, or the list of files, is without a digest."""
    return manifest.files is None or any(not file.digests for file in manifest.files)


def _decide_by_pieces(
    folder: ReleaseFolder, metadata: "Metadata", choice: ChosenManifest | None, index: VerifiedIndex | None, emit: Emit
) -> tuple[ChosenManifest, PieceCheck | None]:
    """The choice with every file that the kept torrent has, and what hashing its pieces found.

    No piece is hashed if the torrent is not the one that the manifest pins, or if the ``index`` of earlier runs knows
    all the files that have no digest.
    """
    from magnetar.fetch.download.check_on_disk import check_pieces
    from magnetar.pipeline.folder.match_torrent import fill_from_torrent, names_torrent

    if choice is not None and not names_torrent(choice.manifest, metadata):
        return choice, None
    choice = fill_from_torrent(choice, metadata)
    if index is not None and _all_known(folder.root, choice.manifest, index):
        return choice, None
    try:
        return choice, PieceCheck(frozenset(check_pieces(folder.root, folder.torrent, emit=emit).damaged))
    except DiskError as error:  # what has digests is checked all the same
        return choice, PieceCheck(frozenset(), failed=error.message)


def _all_known(root: Path, manifest: Manifest, index: VerifiedIndex) -> bool:
    """Whether an earlier run checked the pieces of every file without a digest, and none has changed since."""
    for file in manifest.files or ():
        try:
            status = (root / file.path).stat()
        except OSError:
            return False
        if not file.digests and index.recall(file.path, status, proofs_of(file, manifest)) is None:
            return False
    return True


def _locate_damage(report: VerifyReport, manifest: Manifest, folder: ReleaseFolder, emit: Emit) -> VerifyReport:
    """The report with the damage located, if the kept torrent is of the release that the folder was held against."""
    if folder.metadata is None:
        return report
    from magnetar.pipeline.folder.match_torrent import lists_same_files, names_torrent
    from magnetar.pipeline.proving.locate_damage import locate

    if not names_torrent(manifest, folder.metadata) and not lists_same_files(manifest, folder.metadata):
        return report
    unfinished = folder.origin is not None and not folder.origin.complete
    return locate(report, folder.torrent, folder.metadata, unfinished=unfinished, emit=emit)
