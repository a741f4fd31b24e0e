"""Verification with all that is known: the manifest's digests, the pieces of the torrent, what an earlier run noted."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.conversion import read_conversion
from magnetar.errors import CheckpointError, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.files import STATE_FOLDER
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.choice import Choice, Trust, choose_manifest
from magnetar.manifests.folder import SIGNATURE, published_manifest
from magnetar.manifests.index import Index
from magnetar.manifests.origin import read_origin
from magnetar.manifests.report import PieceCheck, Report
from magnetar.manifests.schema import Manifest, ReleaseFile, load_manifest
from magnetar.manifests.verify import Terms, proofs_of, verify

if TYPE_CHECKING:  # verifying a folder that no torrent is involved in needs no libtorrent
    from magnetar.fetch.download import Fetched
    from magnetar.fetch.torrent import Metadata
    from magnetar.pipeline_prove import Proven


WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".gguf")


@dataclass(frozen=True, slots=True)
class Asked:
    """How the user wants something verified.

    ``quick`` believes what an earlier run noted of files that are unchanged; ``strict`` and ``fail_fast`` are those of
    ``Terms``. ``reference`` is the release, for the error of a quantised copy.
    """

    quick: bool = False
    strict: bool = False
    fail_fast: bool = False
    reference: Path | None = None


PLAINLY = Asked()


def verify_fetched(fetched: "Fetched", emit: Emit = ignore) -> Report:
    """Hold a download that has just ended, every piece of it checked, against its manifest.

    Where no manifest is known, the files are still those that the link names, and nothing more is said.
    """
    index = Index(fetched.folder)
    pinned = find_by_infohash(fetched.metadata.infohash_v1, fetched.metadata.infohash_v2)
    choice = Choice(pinned, "the release that the link names", Trust.RELEASE) if pinned else None
    choice = _complete(choice, fetched.metadata)
    pieces = PieceCheck(frozenset()) if fetched.complete else None
    terms = Terms(pieces=pieces, left_out=fetched.left_out, index=index)
    report = verify(fetched.folder, choice, terms, emit=emit)
    index.save()
    return report


def verify_unsigned(path: Path, named: str | None, asked: Asked = PLAINLY, *, emit: Emit = ignore) -> "Report | Proven":
    """As ``verify_any``; a signature that nobody asked about is not shown as trust, and not passed over either."""
    manifest = Path(named) if named else published_manifest(path)
    if manifest is not None and manifest.with_name(manifest.name + SIGNATURE).is_file():
        emit(Remarked(f"{manifest}: has a signature, which adds no trust until you say whose: --public-key FILE"))
    return verify_any(path, named, asked, emit=emit)


def verify_any(path: Path, named: str | None, asked: Asked = PLAINLY, *, emit: Emit = ignore) -> "Report | Proven":
    """Verify a release's folder file by file, and a converted copy of it tensor by tensor.

    A converted copy is a single checkpoint file, or a folder that notes what it was converted from, or one whose
    weights are in other files than those of the release that was named.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder", hint="name what holds the weights")
    if path.is_dir() and not _is_converted(path, named):
        return verify_folder(path, named, asked, emit=emit)
    from magnetar.pipeline_prove import prove_copy

    return prove_copy(path, named, reference=asked.reference, emit=emit)


def verify_folder(folder: Path, named: str | None, asked: Asked = PLAINLY, *, emit: Emit = ignore) -> Report:
    """Hold a folder against the manifest that was named, or the one that fits.

    A folder that was fetched remembers its torrent: its pieces decide on the files that the manifest has no digest
    for, and on all of them where there is no manifest; and they tell where a damaged file is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder", hint="name the folder that holds the release's files")
    index = Index(folder)
    torrent = _kept_torrent(folder)
    choice, pieces = _choose(folder, named, torrent), None
    if choice is None or (torrent and _leaves_gaps(choice.manifest)):
        choice, pieces = _decide_by_pieces(folder, torrent, choice, index if asked.quick else None, emit)
    parts = find_parts(folder, choice.manifest)
    terms = Terms(pieces, (), parts, index, asked.quick, asked.strict, asked.fail_fast)
    try:
        report = verify(folder, choice, terms, emit=emit)
    finally:
        index.save()  # after Ctrl-C too: --quick then goes on with the files that were not read
    return _locate(report, choice.manifest, torrent, emit) if torrent and report.findings else report


def names_torrent(manifest: Manifest, metadata: "Metadata") -> bool:
    """Whether a manifest pins that very torrent: by each infohash that both have, and by one at least."""
    pairs = ((manifest.infohash_v1, metadata.infohash_v1), (manifest.infohash_v2, metadata.infohash_v2))
    known = [pinned == found for pinned, found in pairs if pinned and found]
    return bool(known) and all(known)


def find_parts(folder: Path, manifest: Manifest) -> dict[str, tuple[Path, ...]]:
    """The files of a release that lie in a folder cut into parts, with the parts in order, where none is missing."""
    missing = {file.path for file in manifest.files or () if not (folder / file.path).exists()}
    if not missing:
        return {}
    from magnetar.convert.split import find_split, split_stem

    found: dict[str, list[Path]] = defaultdict(list)
    for above in {(folder / path).parent for path in missing}:
        for part in above.iterdir() if above.is_dir() else ():
            whole = split_stem(part.name)
            path = (above / whole).relative_to(folder).as_posix() if whole else ""
            if path in missing:
                found[path].append(part)
    parts = {}
    for path, files in found.items():
        try:
            parts[path] = tuple((folder / path).parent / name for name in find_split(file.name for file in files))
        except CheckpointError:  # one of them is missing, and so is the file
            continue
    return parts


def _choose(folder: Path, named: str | None, torrent: bytes) -> Choice | None:
    """The manifest; None where there is none, but a torrent."""
    try:
        return choose_manifest(folder, named)
    except UsageError:
        if named is not None or not torrent:
            raise
        return None


def _kept_torrent(folder: Path) -> bytes:
    """The torrent that a folder was fetched or published by; empty if it remembers none."""
    if not (folder / STATE_FOLDER).is_dir():
        return b""
    from magnetar.fetch.state import read_kept_torrent

    return read_kept_torrent(folder)


def _leaves_gaps(manifest: Manifest) -> bool:
    """Whether a file, or the list of them, is without a digest."""
    return manifest.files is None or any(not file.digests for file in manifest.files)


def _decide_by_pieces(
    folder: Path, torrent: bytes, choice: Choice | None, index: Index | None, emit: Emit
) -> tuple[Choice, PieceCheck | None]:
    """The choice with every file that the torrent has, and what hashing the pieces found.

    No piece is hashed if the torrent is not the one that the manifest pins, or if the ``index`` knows all the files
    that have no digest.
    """
    from magnetar.fetch.checking import check_pieces
    from magnetar.fetch.metainfo import read_torrent

    metadata = read_torrent(torrent)
    if choice is not None and not names_torrent(choice.manifest, metadata):
        return choice, None
    choice = _complete(choice, metadata)
    if index is not None and _all_known(folder, choice.manifest, index):
        return choice, None
    return choice, PieceCheck(frozenset(check_pieces(folder, torrent, emit=emit).damaged))


def _all_known(folder: Path, manifest: Manifest, index: Index) -> bool:
    """Whether an earlier run checked the pieces of every file without a digest, and none has changed since."""
    for file in manifest.files or ():
        try:
            status = (folder / file.path).stat()
        except OSError:
            return False
        if not file.digests and index.recall(file.path, status, proofs_of(file, manifest)) is None:
            return False
    return True


def _locate(report: Report, manifest: Manifest, torrent: bytes, emit: Emit) -> Report:
    """The report with the damage located, if the torrent is of the release that the folder was held against."""
    from magnetar.fetch.metainfo import read_torrent
    from magnetar.pipeline_damage import locate

    metadata = read_torrent(torrent)
    if not names_torrent(manifest, metadata) and not _lists_the_same(manifest, metadata):
        return report
    origin = read_origin(Path(report.folder))
    unfinished = origin is not None and not origin.complete
    return locate(report, torrent, metadata, unfinished=unfinished, emit=emit)


def _lists_the_same(manifest: Manifest, metadata: "Metadata") -> bool:
    """Whether a manifest that pins no torrent lists the same files, by their sizes."""
    if manifest.infohash_v1 or manifest.infohash_v2:
        return False
    sizes = {str(file.path): file.size for file in metadata.files}
    return all(file.size is not None and sizes.get(file.path) == file.size for file in manifest.files or ())


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
            infohash_v1=metadata.infohash_v1 or None,
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
    manifest = _named_manifest(named)
    listed = manifest.files or () if manifest else ()
    published = {file.path: file.size for file in listed if file.path.endswith(WEIGHTS)}
    if not published or any((folder / path).exists() for path in published):
        return False
    found = [path.stat().st_size for path in folder.iterdir() if path.name.endswith(WEIGHTS) and path.is_file()]
    return bool(found) and not set(found).intersection(published.values())  # of the same size, it was renamed


def _named_manifest(named: str | None) -> Manifest | None:
    """The manifest that was named, by its file or by its release; None for a list of digests, or what is neither."""
    if named is None:
        return None
    if named.endswith(".toml") and Path(named).is_file():
        return load_manifest(Path(named))
    return find_release(named) if named in catalog() else None
