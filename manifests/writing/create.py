"""Writing manifests: from a folder, or from one manifest and what a verified download adds to it."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magnetar.errors import ManifestError, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.manifests.checking.report import FileState, VerifyReport
from magnetar.manifests.folder.layout import payload_paths
from magnetar.manifests.hashing.digests import HEX_LENGTHS, ByteConsumer, Digest, digest_files
from magnetar.manifests.schema import FORMAT, Manifest, ReleaseFile, parse_manifest

ALGORITHMS = ("sha256", "blake3")
"""What a new manifest holds: the digest that everybody can check, and the one that is checked fastest."""


def list_files(
    folder: Path,
    algorithms: Sequence[str] = ALGORITHMS,
    emit: Emit = ignore,
    fed: Callable[[str], Collection[ByteConsumer]] = lambda _path: (),
) -> tuple[ReleaseFile, ...]:
    """Every file of a folder with its size and digests, in the order of paths; hidden state folders are left out.

    ``fed`` gives what else is told the bytes of the file at a path, in the same read.
    Raises ``UsageError`` for an unknown algorithm, a link, or a folder without files; ``MalformedError`` for a name
    that no manifest may hold; ``DiskError``.
    """
    for algorithm in algorithms:
        if algorithm not in HEX_LENGTHS:
            raise UsageError(f"{algorithm} is none of {', '.join(HEX_LENGTHS)}")
    paths = list(payload_paths(folder))
    if not paths:
        raise UsageError(f"{folder}: holds no files", hint="name the folder of the release")
    for path in paths:
        if (folder / path).is_symlink() or not (folder / path).is_file():
            raise UsageError(f"{folder / path}: is no regular file, and a manifest lists nothing else")
    emit(Began(Step.DIGEST, sum((folder / path).stat().st_size for path in paths)))
    digests = digest_files(folder, paths, algorithms, lambda count: emit(Moved(Step.DIGEST, count)), fed)
    files = tuple(
        ReleaseFile(path=path, size=(folder / path).stat().st_size, digests=found)
        for path, found in zip(paths, digests, strict=True)
    )
    emit(Ended(Step.DIGEST))
    return files


def create_manifest(folder: Path, facts: dict[str, Any], algorithms: Sequence[str], emit: Emit = ignore) -> Manifest:
    """A manifest of ``folder``; ``facts`` are its other keys, by the names of the schema.

    Raises ``ManifestError`` if a fact is not one, and what ``list_files`` raises.
    """
    return assemble_manifest(folder, list_files(folder, algorithms, emit), facts)


def plain_name(text: str) -> str:
    """A name that a release may have, for the name of a folder."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:100]


def assemble_manifest(folder: Path, files: tuple[ReleaseFile, ...], facts: dict[str, Any]) -> Manifest:
    """The manifest that says ``files`` and ``facts`` of ``folder``. Raises ``ManifestError`` if a fact is not one."""
    return round_trip(Manifest.model_construct(format=FORMAT, files=files, **facts), str(folder))


def pin_digests(
    manifest: Manifest, folder: Path, report: VerifyReport, algorithms: Sequence[str], emit: Emit = ignore
) -> Manifest:
    """The manifest with sizes and digests added for the files that ``report`` found good in ``folder``.

    That is how a file that was published with nothing but an MD5, or only by its pieces, gets a SHA-256: the one that
    it had when the weaker proof held. Raises ``ManifestError`` unless every file was good.
    """
    doubtful = [file.path for file in report.files if file.state is not FileState.GOOD]
    if doubtful or not report.files:
        raise ManifestError(
            f"{folder}: only what was proven can be pinned, and {', '.join(doubtful[:3]) or 'no file'} was not",
            hint="fetch it by its magnet link, so that its pieces prove it, and pin then",
        )
    stated = [digest.algorithm for file in manifest.files or () for digest in file.digests]
    listed = {file.path: file for file in list_files(folder, tuple(dict.fromkeys((*algorithms, *stated))), emit)}
    known = manifest.files or tuple(listed[result.path] for result in report.files)
    files = tuple(_add(file, listed[file.path], algorithms) for file in known)
    return round_trip(manifest.model_copy(update={"files": files}), manifest.name)


def round_trip(manifest: Manifest, where: str) -> Manifest:
    """The same manifest, read back from its own text, so that what was written is what would be read."""
    return parse_manifest(to_toml(manifest).encode(), where)


@dataclass(frozen=True, slots=True)
class Strength:
    """What a manifest can prove: how many of its files have a strong digest, only a weak one, or none."""

    name: str
    files: int | None
    strong: int
    weak: int
    bare: int


def strength_of(manifest: Manifest) -> Strength:
    """Count the files by the best digest that each has."""
    files = manifest.files or ()
    strong = sum(any(not digest.weak for digest in file.digests) for file in files)
    bare = sum(not file.digests for file in files)
    known = None if manifest.files is None else len(files)
    return Strength(manifest.name, known, strong, len(files) - strong - bare, bare)


def to_toml(manifest: Manifest) -> str:
    """The manifest as a document that ``parse_manifest`` reads back as an equal value."""
    import tomli_w

    return tomli_w.dumps(_plain(manifest), multiline_strings=False)


def _plain(value: Any) -> Any:
    """Models as tables without their empty keys, digests as text."""
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(type(value), "model_fields"):
        table = {key: _plain(inner) for key, inner in value if inner is not None and inner != ()}
        return {key: inner for key, inner in table.items() if inner != {}}
    return value


def _add(file: ReleaseFile, found: ReleaseFile, algorithms: Sequence[str]) -> ReleaseFile:
    """The file with the digests that were asked for, if it is still what it was proven to be a moment ago."""
    if not set(file.digests) <= set(found.digests):
        raise ManifestError(f"{file.path}: changed between its proof and its pinning", hint="leave it alone, and retry")
    new = tuple(digest for digest in found.digests if digest.algorithm in algorithms)
    return file.model_copy(update={"size": found.size, "digests": tuple(dict.fromkeys((*new, *file.digests)))})
