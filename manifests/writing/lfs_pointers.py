"""Git LFS pointers, in and out: what stands in a repository where a large file belongs, with its size and SHA-256."""

from collections.abc import Iterable
from pathlib import Path

from magnetar.errors import MalformedError, UsageError
from magnetar.events import Emit, ignore
from magnetar.files import disk_failure, replace_file
from magnetar.manifests.checksum_lists import load_list, read_pointer
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import FORMAT, Manifest, ReleaseFile
from magnetar.manifests.writing.create import ALGORITHMS, list_files

MAX_POINTER_BYTES = 1024
"""Bytes, by the specification of Git LFS."""


def import_manifest(source: Path, emit: Emit = ignore) -> Manifest:
    """A manifest from what others wrote: a list of digests, a pointer, or a clone with pointers in the files' places.

    Of a clone, files that are no pointers are described as they are. Raises ``ManifestError`` for a file that is
    neither a list nor a pointer, and for a folder what ``list_files`` raises.
    """
    if not source.exists():
        raise UsageError(f"{source}: there is no such file or folder", hint="name a list of digests, or a clone")
    if source.is_dir():
        listed = list_files(source, ALGORITHMS, emit=emit)
        return _nameless(source, (_see_through(source, file) for file in listed))
    pointer = _pointer_at(source)
    if pointer is None:
        return load_list(source)
    return _nameless(source, (ReleaseFile(path=source.name, size=pointer[1], digests=(pointer[0],)),))


def write_pointer(file: ReleaseFile) -> str:
    """The pointer of a file. Raises ``MalformedError`` if its size or its SHA-256 is not known."""
    digest = next((digest for digest in file.digests if digest.algorithm == "sha256"), None)
    if digest is None or file.size is None:
        raise MalformedError(
            f"{file.path}: a pointer needs its size and SHA-256, and the manifest lacks them",
            hint="`magnetar manifest pin` adds what a proven download has",
        )
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest.hex}\nsize {file.size}\n"


def export_pointers(files: Iterable[ReleaseFile], folder: Path) -> tuple[str, ...]:
    """Write a pointer for every file into ``folder``, which must be empty or new; returns their paths.

    Raises ``UsageError``, ``MalformedError`` before anything is written, ``NoSpace`` or ``DiskError``.
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


def _nameless(source: Path, files: Iterable[ReleaseFile]) -> Manifest:
    title = source.resolve().name
    return Manifest(
        format=FORMAT, name="unnamed", title=title, publisher="unknown", licence="unknown", files=tuple(files)
    )


def _see_through(folder: Path, file: ReleaseFile) -> ReleaseFile:
    """What a pointer stands for; any other file as it is."""
    pointer = _pointer_at(folder / file.path)
    return file if pointer is None else ReleaseFile(path=file.path, size=pointer[1], digests=(pointer[0],))


def _pointer_at(path: Path) -> tuple[Digest, int] | None:
    try:
        if path.stat().st_size > MAX_POINTER_BYTES:
            return None
        return read_pointer(path.read_bytes().decode("ascii"))
    except (OSError, UnicodeDecodeError, MalformedError):
        return None
