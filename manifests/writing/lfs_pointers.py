"""Git LFS pointers, read and written: small files with the size and SHA-256 of the large ones that they stand for."""

from collections.abc import Iterable
from pathlib import Path

from magnetar.errors import MalformedError, UsageError
from magnetar.events import Emit, ignore
from magnetar.files import disk_failure, replace_file
from magnetar.manifests.checksum_lists import load_list, read_pointer
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import FORMAT, Manifest, ReleaseFile
from magnetar.manifests.writing.create_manifest import ALGORITHMS, list_files

MAX_POINTER_BYTES = 1024
"""By the specification of Git LFS."""


def import_manifest(source: Path, emit: Emit = ignore) -> Manifest:
    """Make a manifest of a list of digests, of a pointer, or of a clone that has pointers in place of its large files.

    The other files of a clone are hashed as they are. Raises ``UsageError`` if there is nothing at ``source``,
    ``ManifestError`` for a file that is neither a list nor a pointer; for a folder, as ``list_files``.
    """
    if not source.exists():
        raise UsageError(f"{source}: there is no such file or folder", hint="name a list of digests, or a clone")
    if source.is_dir():
        listed = list_files(source, ALGORITHMS, emit=emit)
        return _unnamed_manifest(source, (_resolve_pointer(source, file) for file in listed))
    pointed = _read_pointer_file(source)
    if pointed is None:
        return load_list(source)
    digest, size = pointed
    return _unnamed_manifest(source, (ReleaseFile(path=source.name, size=size, digests=(digest,)),))


def write_pointer(file: ReleaseFile) -> str:
    """The text of the pointer to a file. Raises ``MalformedError`` if its size or its SHA-256 is not known."""
    digest = next((digest for digest in file.digests if digest.algorithm == "sha256"), None)
    if digest is None or file.size is None:
        raise MalformedError(
            f"{file.path}: a pointer needs its size and SHA-256, and the manifest lacks them",
            hint="`magnetar manifest pin` adds what a proven download has",
        )
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest.hex}\nsize {file.size}\n"


def export_pointers(files: Iterable[ReleaseFile], folder: Path) -> tuple[str, ...]:
    """Write a pointer for each file into ``folder``, which must be new or empty. Returns the paths of the files.

    Raises ``UsageError`` or ``MalformedError`` before anything is written, then ``NoSpace`` or ``DiskError``.
    """
    pointers = {file.path: write_pointer(file) for file in files}
    if not pointers:
        raise MalformedError("the manifest lists no files", hint="`magnetar manifest show` says what it knows")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder}: is not empty", hint="name a new folder: nothing is overwritten")
    except OSError as error:
        raise disk_failure(error, folder) from error
    for path, text in pointers.items():
        replace_file(folder / path, text.encode())
    return tuple(pointers)


def _unnamed_manifest(source: Path, files: Iterable[ReleaseFile]) -> Manifest:
    title = source.resolve().name
    return Manifest(
        format=FORMAT, name="unnamed", title=title, publisher="unknown", licence="unknown", files=tuple(files)
    )


def _resolve_pointer(folder: Path, file: ReleaseFile) -> ReleaseFile:
    """The file that a pointer stands for; a file that is no pointer is returned as it is."""
    pointed = _read_pointer_file(folder / file.path)
    if pointed is None:
        return file
    digest, size = pointed
    return ReleaseFile(path=file.path, size=size, digests=(digest,))


def _read_pointer_file(path: Path) -> tuple[Digest, int] | None:
    """The digest and the size in a pointer; None if the file at ``path`` is no pointer."""
    try:
        if path.stat().st_size > MAX_POINTER_BYTES:
            return None
        return read_pointer(path.read_bytes().decode("ascii"))
    except (OSError, UnicodeDecodeError, MalformedError):
        return None
