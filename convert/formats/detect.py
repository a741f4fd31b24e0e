"""Opening checkpoint files: what kind of file it is, told by its first bytes and never by its name."""

import json
from collections.abc import Sequence
from pathlib import Path

from magnetar.byte_source import ByteSource, JoinedFile, LocalFile
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.gguf import MAGIC, read_gguf
from magnetar.convert.formats.merge_ranks import unite
from magnetar.convert.formats.npz import is_npz, read_npz
from magnetar.convert.formats.safetensors import read_safetensors
from magnetar.convert.formats.torch_legacy import LEGACY_PICKLE, read_legacy
from magnetar.convert.formats.torch_zip import read_torch_zip
from magnetar.errors import CheckpointError, LayoutError, UsageError

HEAD = 512
LARGEST_DOCUMENT = 64 << 20
"""Of an index or a configuration file. The largest index known has 200 KB."""

INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")


def open_file(path: Path, kind: type[LocalFile] = LocalFile) -> Checkpoint:
    """One checkpoint file, read as that kind of file.

    Raises ``CheckpointError``, ``UnsafePickle``, ``UsageError`` or ``DiskError``.
    """
    if path.name.endswith(INDEX_SUFFIXES):
        return open_index(path, kind)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, not a checkpoint file")
    return _read_or_close(kind(path))


def open_joined(paths: Sequence[Path], name: str, kind: type[LocalFile] = LocalFile) -> Checkpoint:
    """One checkpoint file that was split into parts, given in order. Raises what ``open_file`` raises."""
    return _read_or_close(JoinedFile(name, paths, kind))


def open_files(paths: Sequence[Path], kind: type[LocalFile] = LocalFile) -> Checkpoint:
    """Several files as one checkpoint: the union of their tensors. Raises what ``open_file`` raises."""
    opened: list[Checkpoint] = []
    try:
        for path in paths:
            opened.append(open_file(path, kind))  # noqa: PERF401 (those already open are closed if one fails)
        return unite(opened)
    except BaseException:
        for checkpoint in opened:
            checkpoint.close()
        raise


def open_index(path: Path, kind: type[LocalFile] = LocalFile) -> Checkpoint:
    """The shards that an index names, as one checkpoint that holds exactly what the index says where.

    Raises ``CheckpointError`` naming a shard that is missing, or a tensor that is not where it should be.
    """
    weight_map = read_document(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path.name}: has no weight_map")
    files = sorted({_plain_name(path, file) for file in weight_map.values()})
    for file in files:
        if not (path.parent / file).is_file():
            raise CheckpointError(f"{path.name}: its shard {file} is missing", hint="fetch the release again")
    checkpoint = open_files([path.parent / file for file in files], kind)
    held = {spec.name: checkpoint.sources[spec.source].name for spec in checkpoint.specs.values()}
    if held != weight_map:
        checkpoint.close()
        name = min(key for key in {**held, **weight_map} if held.get(key) != weight_map.get(key))
        raise CheckpointError(
            f"{path.name}: says that {name} is in {weight_map.get(name, 'no shard')}; "
            f"it is in {held.get(name, 'no shard')}"
        )
    return checkpoint


def read_document(path: Path) -> dict[str, object]:
    """A JSON object from a file. Raises ``LayoutError`` if it is none, ``UsageError`` or ``DiskError``."""
    with LocalFile(path) as source:
        if source.size > LARGEST_DOCUMENT:
            raise LayoutError(f"{path.name}: has {source.size} bytes, too many for what it should be")
        content = source.read(0, source.size)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path.name}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise LayoutError(f"{path.name}: is not a JSON object")
    return document


def _read_or_close(source: LocalFile | JoinedFile) -> Checkpoint:
    try:
        return _read(source)
    except BaseException:
        source.close()
        raise


def _read(source: ByteSource) -> Checkpoint:
    head = source.read(0, min(HEAD, source.size))
    if is_npz(head):
        return read_npz(source)
    if LEGACY_PICKLE in head[:32]:
        return read_legacy(source)
    if head.startswith(b"PK"):
        return read_torch_zip(source)
    if head.startswith(MAGIC):
        return read_gguf(source)
    if head[8:9] == b"{":
        return read_safetensors(source)
    raise _foreign(source, head)


def _foreign(source: ByteSource, head: bytes) -> CheckpointError:
    """Say what the file is instead, so that the user knows what happened to it."""
    text = head.lstrip().lower()
    if not head.strip(b"\0"):
        what = "is empty" if not source.size else "holds only zeros where it should begin"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = "is a web page: a server sent an error instead of the file"
    elif text.startswith(b"version https://git-lfs"):
        what = "is a pointer of git-lfs, not the file itself"
    elif head.startswith(b"\x80"):
        what = "is a bare pickle, not a checkpoint. It was not run"
    elif head[257:262] == b"ustar":
        what = "is a tar archive; that of torch before 0.1.10 can only be read by running it"
    else:
        what = "is not a checkpoint of any known kind"
    return CheckpointError(f"{source.name}: {what}", hint="fetch it again, and verify it against its manifest")


def _plain_name(index: Path, file: object) -> str:
    if not isinstance(file, str) or not file.isprintable() or Path(file).name != file or "\\" in file:
        raise CheckpointError(f"{index.name}: {str(file)[:80]!r} is not a plain file name")
    return file
