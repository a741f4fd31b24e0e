"""The zip files of ``torch.save`` (``.pth``, ``.pt``, ``.bin``), read as a table of byte ranges."""

from collections.abc import Iterator, Mapping

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint, Seal, TensorSpec, check_name
from magnetar.convert.formats.pickle_reader import MAX_PICKLE_BYTES
from magnetar.convert.formats.state_dict import Storage, StoredTensor, needed_bytes, read_state_dict
from magnetar.convert.formats.zip_reader import LOCAL, ZipEntry, outline_zip, read_entry, read_zip
from magnetar.errors import CheckpointError, ConversionError

SMALL_ENTRIES = frozenset({"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"})
MAX_SMALL_ENTRY_BYTES = 4096
MAX_HEAD_BYTES = 4 << 20
"""How far to look for the end of the pickle in a file that was cut short."""


def read_torch_zip(source: ByteSource) -> Checkpoint:
    """The tensors of one ``torch.save`` file. Nothing of its pickle is run.

    Checked here are the zip's structure, the pickle, every size and bound, and the CRC-32 of every entry that holds no
    tensors. The CRC-32 of the tensors is checked when their bytes are read.
    Raises ``CheckpointError`` or ``UnsafePickle``.
    """
    try:
        entries = _strip_root(source, read_zip(source))
    except CheckpointError as error:
        missing = _count_missing(source)
        if missing <= 0:
            raise
        raise CheckpointError(
            f"{source.name}: at least {missing:,} bytes are missing at its end: it has {source.size:,}",
            hint="the download did not end; fetch it again",
        ) from error
    _check_kind(source, entries)
    pickle = read_entry(source, entries["data.pkl"], MAX_PICKLE_BYTES)
    tensors, storages = read_state_dict(pickle, f"{source.name}: data.pkl")
    _check_storages(source, entries, storages)
    return Checkpoint("torch zip", [source], _describe(source, entries, tensors))


def outline_torch_zip(source: ByteSource) -> Checkpoint:
    """Where the tensors lie in a damaged ``torch.save`` file whose pickle and directory are whole.

    Raises ``CheckpointError`` or ``UnsafePickle``.
    """
    entries = _strip_root(source, outline_zip(source))
    if "data.pkl" not in entries:
        raise CheckpointError(f"{source.name}: is a zip file, but not one that torch.save wrote: it has no data.pkl")
    tensors, storages = read_state_dict(read_entry(source, entries["data.pkl"], MAX_PICKLE_BYTES), source.name)
    _check_storages(source, entries, storages)
    return Checkpoint("torch zip", [source], _describe(source, entries, tensors))


def _count_missing(source: ByteSource) -> int:
    """How many bytes are missing from the file, told from the sizes in its pickle, which ``torch.save`` writes first.

    Zero or less where that cannot be told. Used only in the message about a file that was refused already.
    """
    head = read_bytes(source, 0, min(source.size, MAX_HEAD_BYTES))
    if len(head) < LOCAL.size:
        return 0
    *_, name_length, extra_length = LOCAL.unpack_from(head)
    begin = LOCAL.size + int(name_length) + int(extra_length)
    try:
        return begin + needed_bytes(head[begin:], source.name) - source.size
    except ConversionError:
        return 0


def _strip_root(source: ByteSource, entries: Mapping[str, ZipEntry]) -> dict[str, ZipEntry]:
    """Entries by their names inside the one folder that ``torch.save`` puts them in."""
    root = next(iter(entries), "").split("/")[0] + "/"
    for name in entries:
        if not name.startswith(root):
            raise CheckpointError(f"{source.name}: {name!r} is not in {root}, so this is no checkpoint of torch")
    return {name.removeprefix(root): entry for name, entry in entries.items()}


def _check_kind(source: ByteSource, entries: Mapping[str, ZipEntry]) -> None:
    if "constants.pkl" in entries or any(name.startswith("code/") for name in entries):
        raise CheckpointError(
            f"{source.name}: is a TorchScript program, not a checkpoint", hint="save the model's state_dict() instead"
        )
    if "data.pkl" not in entries:
        raise CheckpointError(f"{source.name}: is a zip file, but not one that torch.save wrote: it has no data.pkl")
    for name, entry in entries.items():
        if name in SMALL_ENTRIES:
            content = read_entry(source, entry, MAX_SMALL_ENTRY_BYTES)
            if name == "byteorder" and content != b"little":
                raise CheckpointError(f"{source.name}: its tensors are big-endian, which is not supported")
        elif name != "data.pkl" and not name.startswith("data/"):
            raise CheckpointError(f"{source.name}: the entry {name!r} is not one that torch.save writes")


def _check_storages(source: ByteSource, entries: Mapping[str, ZipEntry], storages: Mapping[str, Storage]) -> None:
    """Check that each storage of the pickle is there in the stated size, and that there is no other."""
    for key, storage in storages.items():
        entry = entries.get(f"data/{key}")
        if entry is None:
            raise CheckpointError(f"{source.name}: the storage {key[:80]!r} is missing")
        if entry.size != storage.nbytes:
            raise CheckpointError(
                f"{source.name}: the storage {key} has {entry.size} bytes; the pickle says {storage.nbytes}"
            )
    for name in entries:
        if name.startswith("data/") and name.removeprefix("data/") not in storages:
            raise CheckpointError(f"{source.name}: the storage {name!r} belongs to no tensor")


def _describe(
    source: ByteSource, entries: Mapping[str, ZipEntry], tensors: Mapping[str, StoredTensor]
) -> Iterator[TensorSpec]:
    for name, tensor in tensors.items():
        check_name(name, source.name)
        entry = entries[f"data/{tensor.storage.key}"]
        seal = Seal(entry.offset, entry.size, entry.crc32)
        offset = entry.offset + tensor.offset
        yield TensorSpec(name, tensor.dtype, tensor.shape, 0, offset, tensor.nbytes, seal)
