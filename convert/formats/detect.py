"""Open checkpoint files. The first bytes of a file say of what kind it is; its name does not."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePath

from magnetar.byte_source import (
    ByteSource,
    LocalFolder,
    SourceFolder,
    closing_on_error,
    join,
    open_all,
    read_bytes,
)
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.gguf import MAGIC, read_gguf
from magnetar.convert.formats.merge_ranks import unite
from magnetar.convert.formats.npz import is_npz, read_npz
from magnetar.convert.formats.safetensors import read_safetensors
from magnetar.convert.formats.torch_legacy import LEGACY_PICKLE, read_legacy
from magnetar.convert.formats.torch_zip import read_torch_zip
from magnetar.errors import CheckpointError, LayoutError, UnsafePickle, UsageError
from magnetar.manifests.checking.stand_ins import HEAD_BYTES, find_stand_in

HEAD = 512
"""Bytes at the beginning of a file that tell its kind."""

MAX_DOCUMENT_BYTES = 64 << 20
"""Of an index or a configuration file. The largest index known has 200 KB."""

INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")


def open_path(path: Path) -> Checkpoint:
    """One checkpoint file on this machine, or the shards that an index names. Raises what ``open_file`` raises."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, not a checkpoint file")
    return open_file(LocalFolder(path.parent), path.name)


def open_file(folder: SourceFolder, name: str) -> Checkpoint:
    """One checkpoint file, or the shards that an index names.

    Raises ``CheckpointError``, ``UnsafePickle``, ``UsageError`` (no such file) or ``OutsideError``.
    """
    if name.endswith(INDEX_SUFFIXES):
        return open_index(folder, name)
    return read_checkpoint(folder.open(name))


def open_joined(folder: SourceFolder, names: Sequence[str], whole: str) -> Checkpoint:
    """The checkpoint file ``whole``, which was split into parts, given in order. Raises what ``open_file`` raises."""
    return read_checkpoint(join(whole, open_all(folder, names)))


def open_files(folder: SourceFolder, names: Sequence[str]) -> Checkpoint:
    """Several files as one checkpoint: the union of their tensors. Raises what ``open_file`` raises."""
    opened: list[Checkpoint] = []
    with closing_on_error(opened):
        for name in names:
            opened.append(open_file(folder, name))  # noqa: PERF401 (those already open are closed if one fails)
        return unite(opened)


def open_index(folder: SourceFolder, name: str) -> Checkpoint:
    """The shards that an index names, as one checkpoint. Each must hold the tensors that the index says, no others.

    Raises ``CheckpointError`` naming a shard that is missing, or a tensor that is not where it should be, and what
    ``open_file`` raises.
    """
    weight_map = read_document(folder, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{name}: has no weight_map", path=Path(name))
    shards = sorted({_plain_name(name, shard) for shard in weight_map.values()})
    for shard in shards:
        if shard not in folder.sizes:
            raise CheckpointError(
                f"{name}: its shard {shard} is missing", hint="fetch the release again", path=Path(shard)
            )
    checkpoint = open_files(folder, shards)
    held = {spec.name: checkpoint.sources[spec.source].name for spec in checkpoint.specs.values()}
    if held != weight_map:
        checkpoint.close()
        tensor = min(key for key in {**held, **weight_map} if held.get(key) != weight_map.get(key))
        raise CheckpointError(
            f"{name}: says that {tensor} is in {weight_map.get(tensor, 'no shard')}; "
            f"it is in {held.get(tensor, 'no shard')}",
            path=Path(name),
            tensor=tensor,
        )
    return checkpoint


def read_document(folder: SourceFolder, name: str) -> dict[str, object]:
    """A JSON object from a file. Raises ``LayoutError`` if it is none, ``UsageError`` or ``OutsideError``."""
    source = folder.open(name)
    try:
        if source.size > MAX_DOCUMENT_BYTES:
            raise LayoutError(f"{name}: has {source.size} bytes, too many for what it should be", path=Path(name))
        content = read_bytes(source, 0, source.size)
    finally:
        source.close()
    stand_in = find_stand_in(content[:HEAD_BYTES], len(content), name)
    if stand_in is not None:
        raise LayoutError(f"{name}: {stand_in.words}", hint=stand_in.hint, path=Path(name))
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{name}: is not JSON: {error}", path=Path(name)) from error
    if not isinstance(document, dict):
        raise LayoutError(f"{name}: is not a JSON object", path=Path(name))
    return document


def read_checkpoint(source: ByteSource) -> Checkpoint:
    """The tensors of one file, which is closed with the checkpoint, or at once if it cannot be read.

    Raises ``CheckpointError``, ``UnsafePickle`` or ``OutsideError``.
    """
    with closing_on_error([source]):
        try:
            return _read(source)
        except (CheckpointError, UnsafePickle) as error:
            error.path = error.path or Path(source.name)
            raise


def _read(source: ByteSource) -> Checkpoint:
    head = read_bytes(source, 0, min(HEAD, source.size))
    if head and b"\0" not in head[:8]:  # as in no binary format but a zip, a pickle or GGUF
        _refuse_stand_in(source)
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
    raise _not_a_checkpoint(source, head)


def _refuse_stand_in(source: ByteSource) -> None:
    """Raises ``CheckpointError`` for the pointer of Git LFS, and for what a server answered instead of the file."""
    stand_in = find_stand_in(read_bytes(source, 0, min(HEAD_BYTES, source.size)), source.size, source.name)
    if stand_in is not None:
        raise CheckpointError(f"{source.name}: {stand_in.words}", hint=stand_in.hint)


def _not_a_checkpoint(source: ByteSource, head: bytes) -> CheckpointError:
    """The error that says what the file is instead, so that the user can tell what happened to it."""
    if not head.strip(b"\0"):
        what = "is empty" if not source.size else "holds only zeros where it should begin"
    elif head.startswith(b"\x80"):
        what = "is a bare pickle, not a checkpoint. It was not run"
    elif head[257:262] == b"ustar":
        what = "is a tar archive; that of torch before 0.1.10 can only be read by running it"
    else:
        what = "is not a checkpoint of any known kind"
    return CheckpointError(f"{source.name}: {what}", hint="fetch it again, and verify it against its manifest")


def _plain_name(index: str, name: object) -> str:
    """A name of a shard that cannot lead out of the folder."""
    if not isinstance(name, str) or not name.isprintable() or PurePath(name).name != name or "\\" in name:
        raise CheckpointError(f"{index}: {str(name)[:80]!r} is not a plain file name", path=Path(index))
    return name
