"""Every file of a folder, read once for its digests and for its torrent; what a run that was stopped read is not read
again.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from magnetar.errors import UsageError
from magnetar.events import Began, Emit, Ended, Moved, Resumed, Step, ignore
from magnetar.fetch.torrent.create_torrent import Draft, FileHashes
from magnetar.manifests.checking.unfinished_hashes import UnfinishedHash, UnfinishedHashes
from magnetar.manifests.folder.layout import OWN_MANIFEST, payload_paths
from magnetar.manifests.hashing.digests import Digest, digest_files
from magnetar.manifests.schema import ReleaseFile
from magnetar.manifests.writing.create_manifest import ALGORITHMS


@dataclass(frozen=True, slots=True)
class Hashed:
    """The files as a manifest lists them, and the paths of those whose hashes an earlier run had taken.

    ``own_manifest`` is the manifest in the folder, which no manifest lists; None if there is none.
    """

    files: tuple[ReleaseFile, ...]
    recalled: tuple[str, ...]
    own_manifest: ReleaseFile | None = None


def hash_files(draft: Draft, notes: UnfinishedHashes, emit: Emit = ignore) -> Hashed:
    """Hash every file of a draft, files side by side, and note each as it is done.

    A file that is noted already, and unchanged since, is not read. The folder's own manifest is part of the torrent,
    but no manifest lists manifests. Raises ``UsageError`` or ``DiskError``.
    """
    sizes = {str(file.path): file.size for file in draft.files}
    paths = list(payload_paths(draft.folder, own_manifest=True))
    if paths == [OWN_MANIFEST]:
        raise UsageError(
            f"{draft.folder}: holds no files besides {OWN_MANIFEST}", hint="name the folder of the release"
        )
    opened = {path: _open(notes, draft, path) for path in paths}
    known = {path: found for path in paths if (found := _recall(draft, path, opened[path].value))}
    if known:
        emit(Resumed(Step.DIGEST, sum(sizes[path] for path in known), sum(sizes[path] for path in paths)))

    def moved(count: int) -> None:
        emit(Moved(Step.DIGEST, count))

    def note(path: str, found: tuple[Digest, ...]) -> None:
        opened[path].keep(_as_json(found, draft.hashed(path)))

    unread = [path for path in paths if path not in known]
    emit(Began(Step.DIGEST, sum(sizes[path] for path in unread)))
    read = digest_files(draft.folder, unread, ALGORITHMS, moved, draft.hashers, note)
    digests = known | dict(zip(unread, read, strict=True))
    emit(Ended(Step.DIGEST))
    files = {path: ReleaseFile(path=path, size=sizes[path], digests=digests[path]) for path in paths}
    own_manifest = files.pop(OWN_MANIFEST, None)
    return Hashed(tuple(files.values()), tuple(path for path in files if path in known), own_manifest)


def _open(notes: UnfinishedHashes, draft: Draft, path: str) -> UnfinishedHash:
    return notes.open(f"{path}: {', '.join(ALGORITHMS)}; {draft.terms(path)}", [draft.folder / path])


def _recall(draft: Draft, path: str, value: Any) -> tuple[Digest, ...] | None:
    """The digests that a note has; the draft takes its hashes. None where it has none."""
    with suppress(KeyError, TypeError, ValueError):  # no note, or of another version of Magnetar
        pieces, root, layer = (bytes.fromhex(value[key]) for key in ("pieces", "root", "layer"))
        digests = tuple(Digest.parse(text) for text in value["digests"])
        draft.reuse(path, FileHashes(pieces, root, layer))
        return digests
    return None


def _as_json(digests: tuple[Digest, ...], hashes: FileHashes) -> dict[str, Any]:
    return {
        "digests": [str(digest) for digest in digests],
        "pieces": hashes.pieces.hex(),
        "root": hashes.root.hex(),
        "layer": hashes.layer.hex(),
    }
