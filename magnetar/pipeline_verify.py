"""Verification with all that is known: the manifest's digests, and the pieces of the torrent."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.conversion import read_conversion
from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.files import STATE_FOLDER
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.choice import Choice, Trust, choose_manifest
from magnetar.manifests.report import PieceCheck, Report
from magnetar.manifests.schema import Manifest, ReleaseFile
from magnetar.manifests.verify import verify

if TYPE_CHECKING:  # verifying a folder that no torrent is involved in needs no libtorrent
    from magnetar.fetch.download import Fetched
    from magnetar.fetch.torrent import Metadata
    from magnetar.pipeline_prove import Proven


WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".gguf")


def verify_fetched(fetched: "Fetched", emit: Emit = ignore) -> Report:
    """Hold a download that has just ended, every piece of it checked, against its manifest.

    Where no manifest is known, the files are still those that the link names, and nothing more is said.
    """
    pinned = find_by_infohash(fetched.metadata.infohash_v1, fetched.metadata.infohash_v2)
    choice = Choice(pinned, "the release that the link names", Trust.RELEASE) if pinned else None
    choice = _complete(choice, fetched.metadata)
    pieces = PieceCheck(frozenset()) if fetched.complete else None
    return verify(fetched.folder, choice, pieces=pieces, left_out=fetched.left_out, emit=emit)


def verify_any(
    path: Path,
    named: str | None,
    *,
    reference: Path | None = None,
    strict: bool = False,
    fail_fast: bool = False,
    emit: Emit = ignore,
) -> "Report | Proven":
    """Verify a release's folder file by file, and a converted copy of it tensor by tensor.

    A converted copy is a single checkpoint file, or a folder that notes what it was converted from, or one whose
    weights are in other files than those of the release that was named.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder", hint="name what holds the weights")
    if path.is_dir() and not _is_converted(path, named):
        return verify_folder(path, named, strict=strict, fail_fast=fail_fast, emit=emit)
    from magnetar.pipeline_prove import prove_copy

    return prove_copy(path, named, reference=reference, emit=emit)


def verify_folder(
    folder: Path, named: str | None, *, strict: bool = False, fail_fast: bool = False, emit: Emit = ignore
) -> Report:
    """Hold a folder against the manifest that was named, or the one that fits.

    A folder that was fetched remembers its torrent: its pieces decide on the files that the manifest has no digest
    for, and on all of them where there is no manifest.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    torrent = _kept_torrent(folder)
    try:
        choice: Choice | None = choose_manifest(folder, named)
    except UsageError:
        if named is not None or not torrent:
            raise
        choice = None
    if choice is not None and not (torrent and _leaves_gaps(choice.manifest)):
        return verify(folder, choice, strict=strict, fail_fast=fail_fast, emit=emit)
    choice, pieces = _check_pieces(folder, torrent, choice, emit)
    return verify(folder, choice, pieces=pieces, strict=strict, fail_fast=fail_fast, emit=emit)


def _kept_torrent(folder: Path) -> bytes:
    """The torrent that a folder was fetched or published by; empty if it remembers none."""
    if not (folder / STATE_FOLDER).is_dir():
        return b""
    from magnetar.fetch.state import read_kept_torrent

    return read_kept_torrent(folder)


def _leaves_gaps(manifest: Manifest) -> bool:
    """Whether a file, or the list of them, is without a digest."""
    return manifest.files is None or any(not file.digests for file in manifest.files)


def _check_pieces(folder: Path, torrent: bytes, choice: Choice | None, emit: Emit) -> tuple[Choice, PieceCheck | None]:
    """Hash the pieces, if they are of the release that was chosen."""
    from magnetar.fetch.checking import check_pieces
    from magnetar.fetch.metainfo import read_torrent

    metadata = read_torrent(torrent)
    pinned = find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
    if choice is not None and (pinned is None or pinned.name != choice.manifest.name):
        return choice, None
    checked = check_pieces(folder, torrent, emit=emit)
    return _complete(choice, metadata), PieceCheck(frozenset(checked.damaged))


def _complete(choice: Choice | None, metadata: "Metadata") -> Choice:
    """The choice, with the torrent's own list of files where no manifest has one."""
    files = tuple(ReleaseFile(path=str(file.path), size=file.size) for file in metadata.files)
    if choice is None:
        manifest = Manifest(
            format=1,
            name="unknown",
            title=metadata.name,
            publisher="unknown",
            licence="unknown",
            infohash_v2=metadata.infohash_v2 or None,
            files=files,
        )
        return Choice(manifest, "the torrent that the link names; no manifest says whose it is", Trust.UNDAMAGED)
    if choice.manifest.files is None:
        return replace(choice, manifest=choice.manifest.model_copy(update={"files": files}))
    return choice


def _is_converted(folder: Path, named: str | None) -> bool:
    """Whether it notes a conversion, or holds other files of weights than the release that was named."""
    if read_conversion(folder) is not None:
        return True
    if named is None or named not in catalog():
        return False
    published = [file.path for file in find_release(named).files or () if file.path.endswith(WEIGHTS)]
    if not published or any((folder / path).exists() for path in published):
        return False
    return any(path.name.endswith(WEIGHTS) for path in folder.iterdir())
