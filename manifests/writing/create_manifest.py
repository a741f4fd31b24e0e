"""Make a manifest of a folder, or add strong digests to a manifest from a download that was proven."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from magnetar.characters import HIDDEN
from magnetar.errors import ManifestError, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.files import disk_failure
from magnetar.manifests.checking.verify_report import FileState, VerifyReport
from magnetar.manifests.folder.layout import payload_paths
from magnetar.manifests.hashing.digests import HEX_LENGTHS, Digest, digest_files
from magnetar.manifests.schema import (
    FORMAT,
    MAX_CONTENT_BYTES,
    ArchitectureFacts,
    Manifest,
    Mirror,
    ReleaseFile,
    SideFile,
    Smoke,
    parse_manifest,
)

ALGORITHMS = ("sha256", "blake3")
"""A new manifest has both: SHA-256, which everybody can check, and BLAKE3, which is checked fastest."""


HELD = frozenset(
    {
        *("params.json", "config.json", "generation_config.json"),
        *("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    }
)
"""Files that a manifest holds whole where they are small. What a conversion adds beside tensors follows from them."""


class ManifestFacts(TypedDict, total=False):
    """The keys of a manifest besides ``format`` and ``files``. None is the same as a key that is not there."""

    name: str
    title: str
    publisher: str
    licence: str
    published: date | None
    summary: str | None
    magnet: str | None
    infohash_v1: str | None
    infohash_v2: str | None
    info: Digest | None
    folder: str | None
    layout: str | None
    architecture: ArchitectureFacts
    mirrors: tuple[Mirror, ...]
    tensors: SideFile | None
    smoke: Smoke | None


def list_files(
    folder: Path,
    algorithms: Sequence[str] = ALGORITHMS,
    emit: Emit = ignore,
) -> tuple[ReleaseFile, ...]:
    """Every file of a folder with its size and digests, in the order of paths; state folders are left out.

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
    digests = digest_files(folder, paths, algorithms, lambda count: emit(Moved(Step.DIGEST, count)))
    files = tuple(
        ReleaseFile(path=path, size=(folder / path).stat().st_size, digests=found)
        for path, found in zip(paths, digests, strict=True)
    )
    emit(Ended(Step.DIGEST))
    return files


def create_manifest(folder: Path, facts: ManifestFacts, algorithms: Sequence[str], emit: Emit = ignore) -> Manifest:
    """Make a manifest of ``folder``, with ``facts`` as its other keys.

    Raises ``ManifestError`` for a fact that the schema refuses, and as ``list_files``.
    """
    return assemble_manifest(folder, list_files(folder, algorithms, emit), facts)


def plain_name(text: str) -> str:
    """A valid name for a release, from the name of a folder; empty if no character of it is allowed."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:100]


def assemble_manifest(folder: Path, files: tuple[ReleaseFile, ...], facts: ManifestFacts) -> Manifest:
    """A manifest of these files, which are in ``folder``, and of these facts. It holds the small files of ``HELD``.

    Raises ``ManifestError``, naming ``folder``, for a fact that is refused, or a file that changed since it was hashed;
    ``DiskError``.
    """
    holding = tuple(hold_content(folder, file) for file in files)
    return round_trip(Manifest.model_construct(format=FORMAT, files=holding, **facts), str(folder))


def hold_content(folder: Path, file: ReleaseFile) -> ReleaseFile:
    """The same with the file's content, if it is one of ``HELD`` and small. Raises ``DiskError``."""
    if PurePosixPath(file.path).name not in HELD or file.size is None or file.size > MAX_CONTENT_BYTES:
        return file
    path = folder / file.path
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_CONTENT_BYTES + 1)
    except OSError as error:
        raise disk_failure(error, path) from error
    if _is_plain(content):
        return file.model_copy(update={"content": content.decode()})
    return file.model_copy(update={"content_base64": base64.b64encode(content).decode()})


def _is_plain(content: bytes) -> bool:
    """Whether it is text that TOML holds in at most twice its size: control characters would take six times theirs."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]", text)


def pin_digests(
    manifest: Manifest, folder: Path, report: VerifyReport, algorithms: Sequence[str], emit: Emit = ignore
) -> Manifest:
    """Add sizes and digests to a manifest, for the files that ``report`` found good in ``folder``.

    A file that was published with only an MD5, or only in a torrent, gets a SHA-256 in this way, and small files of
    ``HELD`` are held whole. The files are read once more, and the digests that the manifest has already must still
    hold. Raises ``ManifestError`` unless every file was good.
    """
    unproven = [file.path for file in report.files if file.state is not FileState.GOOD]
    if unproven or not report.files:
        raise ManifestError(
            f"{folder}: only what was proven can be pinned, and {', '.join(unproven[:3]) or 'no file'} was not",
            hint="fetch it by its magnet link, so that its pieces prove it, and pin then",
        )
    stated = [digest.algorithm for file in manifest.files or () for digest in file.digests]
    listed = {file.path: file for file in list_files(folder, tuple(dict.fromkeys((*algorithms, *stated))), emit)}
    known = manifest.files or tuple(listed[result.path] for result in report.files)
    files = tuple(hold_content(folder, _add_digests(file, listed[file.path], algorithms)) for file in known)
    return round_trip(manifest.model_copy(update={"files": files}), manifest.name)


def round_trip(manifest: Manifest, where: str) -> Manifest:
    """Write the manifest as TOML and parse it: what is returned is valid, and what a reader will see."""
    return parse_manifest(to_toml(manifest).encode(), where)


@dataclass(frozen=True, slots=True)
class Strength:
    """What a manifest can prove: how many of its ``files`` have a strong digest, only a weak one, or none (``bare``).

    ``files`` is None if the list of files is not known.
    """

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
    """The manifest as TOML; ``parse_manifest`` reads it back as an equal value.

    Characters that are not seen are written as escapes, so that a reader of the file sees them.
    """
    import tomli_w

    text = tomli_w.dumps(_plain(manifest), multiline_strings=False)
    return "\n".join(HIDDEN.sub(_escape_in_toml, line) for line in text.split("\n"))


def _escape_in_toml(found: re.Match[str]) -> str:
    """TOML has these two escapes in the only strings that are written: those in double quotes, on one line."""
    number = ord(found[0])
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"


def _plain(value: Any) -> Any:
    """Turn models into tables without their empty keys, and digests into text."""
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(type(value), "model_fields"):
        table = {key: _plain(inner) for key, inner in value if inner is not None and inner != ()}
        return {key: inner for key, inner in table.items() if inner != {}}
    return value


def _add_digests(file: ReleaseFile, found: ReleaseFile, algorithms: Sequence[str]) -> ReleaseFile:
    """Add the digests of ``algorithms`` from ``found``, if the file still has those that it was proven by."""
    if not set(file.digests) <= set(found.digests):
        raise ManifestError(f"{file.path}: changed between its proof and its pinning", hint="leave it alone, and retry")
    new = tuple(digest for digest in found.digests if digest.algorithm in algorithms)
    return file.model_copy(update={"size": found.size, "digests": tuple(dict.fromkeys((*new, *file.digests)))})
