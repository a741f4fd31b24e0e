"""A strict reader of the zip files that ``torch.save`` writes: stored entries back to back, and nothing else.

Written from PKWARE's APPNOTE 6.3.10 (sections 4.3 and 4.5), but narrower: what ``torch.save`` never writes is
refused. Where two readers disagree about a file, one can be shown a harmless file and the other a harmful one.
"""

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.errors import CheckpointError

LOCAL = struct.Struct("<4s5H3I2H")  # 4.3.7
DESCRIPTOR = struct.Struct("<4s3I")  # 4.3.9
DESCRIPTOR64 = struct.Struct("<4sI2Q")
CENTRAL = struct.Struct("<4s6H3I5H2I")  # 4.3.12
END64 = struct.Struct("<4sQ2H2I4Q")  # 4.3.14
LOCATOR64 = struct.Struct("<4sIQI")  # 4.3.15
END = struct.Struct("<4s4H2IH")  # 4.3.16

STORED = 0
HAS_DESCRIPTOR = 0x8
UTF8 = 0x800
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF
ZIP64_EXTRA = 1

ALIGNMENT = 64
"""``torch.save`` pads the header of each entry so that its content begins at a multiple of so many bytes."""

MAX_DIRECTORY_BYTES = 64 << 20
"""Room for half a million entries. The largest releases have two thousand."""


class ZipEntry(NamedTuple):
    """One file inside the zip: where its content lies, and the CRC-32 that it must have."""

    name: str
    offset: int
    size: int
    crc32: int


class _Record(NamedTuple):
    """A line of the central directory."""

    name: bytes
    flags: int
    crc32: int
    size: int
    header: int


class _Directory(NamedTuple):
    offset: int
    size: int
    entries: int


def read_zip(source: ByteSource) -> Mapping[str, ZipEntry]:
    """The entries of a zip by name, in the order in which they lie. No CRC-32 is checked here.

    Raises ``CheckpointError`` that says which rule the file broke.
    """
    if source.size < LOCAL.size + END.size or read_bytes(source, 0, 4) != b"PK\x03\x04":
        raise _broken(source, "does not begin with a zip entry")
    directory = _find_directory(source)
    records = sorted(_read_directory(source, directory), key=lambda record: record.header)
    entries: dict[str, ZipEntry] = {}
    position = 0
    for record in records:
        name = _decode_name(source, record.name)
        if name in entries:
            raise _broken(source, f"has two entries named {name!r}")
        if record.header != position:
            raise _broken(source, f"has overlapping or hidden bytes before the entry {name!r}")
        entries[name], position = _read_entry(source, record, name, directory.offset)
    if position != directory.offset:
        raise _broken(source, "has hidden bytes before its directory")
    return entries


def outline_zip(source: ByteSource) -> Mapping[str, ZipEntry]:
    """The same from the directory alone, for a file that is known to be damaged between its entries.

    Where an entry's content lies follows from where the next entry begins. This only tells what lies where: nothing
    that is read by it may be called good. Raises ``CheckpointError``.
    """
    directory = _find_directory(source)
    records = sorted(_read_directory(source, directory), key=lambda record: record.header)
    ends = [*(record.header for record in records[1:]), directory.offset]
    entries = {}
    for record, end in zip(records, ends, strict=True):
        offsets = [end - form - record.size for form in _descriptor_sizes(record)]
        aligned = [offset for offset in offsets if offset % ALIGNMENT == 0] or offsets[:1]
        if aligned[0] < record.header + LOCAL.size + len(record.name):
            raise _broken(source, "has entries that overlap")
        name = _decode_name(source, record.name)
        entries[name] = ZipEntry(name, aligned[0], record.size, record.crc32)
    return entries


def _descriptor_sizes(record: _Record) -> tuple[int, ...]:
    """How many bytes may lie between an entry's content and the next entry."""
    return (DESCRIPTOR.size, DESCRIPTOR64.size) if record.flags & HAS_DESCRIPTOR else (0,)


def read_entry(source: ByteSource, entry: ZipEntry, limit: int) -> bytes:
    """A small entry's content, checked against its CRC-32.

    Raises ``CheckpointError`` if it is damaged, or larger than ``limit`` bytes.
    """
    if entry.size > limit:
        raise _broken(source, f"has a {entry.name} of {entry.size} bytes; more than {limit} is no checkpoint's")
    content = read_bytes(source, entry.offset, entry.size)
    if zlib.crc32(content) != entry.crc32:
        raise _broken(source, f"is damaged: the CRC-32 of {entry.name} is not the one that it states")
    return content


def _find_directory(source: ByteSource) -> _Directory:
    """Read the end records. They must touch one another, and be the very end of the file."""
    position = source.size - END.size
    fields = END.unpack(read_bytes(source, position, END.size))
    signature, disk, first_disk, here, entries, size, offset, comment = fields
    if signature != b"PK\x05\x06" or comment:
        raise _broken(
            source,
            "does not end as a zip does: it is cut short, or has bytes after its end",
            hint="compare its size with the release's and fetch what is missing",
        )
    if (disk, first_disk) not in ((0, 0), (FULL16, FULL16)) or here != entries:
        raise _broken(source, "claims to be split over disks, or miscounts its entries")
    directory = _Directory(offset, size, entries)
    if position >= LOCATOR64.size and read_bytes(source, position - LOCATOR64.size, 4) == b"PK\x06\x07":
        directory, position = _find_directory64(source, position - LOCATOR64.size, directory)
    if directory.offset + directory.size != position or directory.size > MAX_DIRECTORY_BYTES:
        raise _broken(source, "lies about the place or size of its directory")
    return directory


def _find_directory64(source: ByteSource, position: int, short: _Directory) -> tuple[_Directory, int]:
    _, disk, where, disks = LOCATOR64.unpack(read_bytes(source, position, LOCATOR64.size))
    if disk or disks != 1 or where != position - END64.size or where < 0:
        raise _broken(source, "lies about the place of its zip64 record")
    signature, length, _, _, disk, first_disk, here, entries, size, offset = END64.unpack(
        read_bytes(source, where, END64.size)
    )
    if signature != b"PK\x06\x06" or length != END64.size - 12 or disk or first_disk or here != entries:
        raise _broken(source, "has a malformed zip64 record")
    for stated, full, value in zip(short, (FULL32, FULL32, FULL16), (offset, size, entries), strict=True):
        if stated not in (full, value):
            raise _broken(source, "states two different directories")
    return _Directory(offset, size, entries), where


def _read_directory(source: ByteSource, directory: _Directory) -> list[_Record]:
    content = read_bytes(source, directory.offset, directory.size)
    records = []
    position = 0
    while position < len(content):
        record, position = _read_record(source, content, position)
        records.append(record)
    if len(records) != directory.entries:
        raise _broken(source, f"has {len(records)} entries, but claims {directory.entries}")
    return records


def _read_record(source: ByteSource, content: bytes, position: int) -> tuple[_Record, int]:
    if position + CENTRAL.size > len(content):
        raise _broken(source, "has a directory that is cut short")
    fields = CENTRAL.unpack_from(content, position)
    signature, _, _, flags, method, _, _, crc32, packed, size, name_length, extra_length, comment, disk = fields[:14]
    header = fields[16]
    name_at = position + CENTRAL.size
    extra_at = name_at + name_length
    end = extra_at + extra_length
    if signature != b"PK\x01\x02" or end > len(content) or comment:
        raise _broken(source, "has a malformed directory")
    name = content[name_at:extra_at]
    if flags & ~(HAS_DESCRIPTOR | UTF8):
        raise _broken(source, f"has an entry {name!r} that is encrypted or otherwise odd (flags {flags:#x})")
    if method != STORED:
        raise _broken(source, f"has a compressed entry {name!r} (method {method}); torch.save never compresses")
    size, packed, header, disk = _widen(source, content[extra_at:end], (size, packed, header, disk))
    if size != packed or disk:
        raise _broken(source, f"has an entry {name!r} whose sizes disagree")
    return _Record(name, flags, crc32, size, header), end


def _widen(source: ByteSource, extra: bytes, fields: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Replace what did not fit by what the zip64 extra field says (4.5.3): size, packed size, header offset, disk."""
    wide = _find_extra(source, extra)
    if wide is None:
        return fields
    values = list(fields)
    for index, (width, full) in enumerate(((8, FULL32), (8, FULL32), (8, FULL32), (4, FULL16))):
        if fields[index] != full:
            continue
        if len(wide) < width:
            raise _broken(source, "has a zip64 field that is cut short")
        values[index], wide = int.from_bytes(wide[:width], "little"), wide[width:]
    if wide:
        raise _broken(source, "has a zip64 field that states what needs no stating")
    return values[0], values[1], values[2], values[3]


def _find_extra(source: ByteSource, extra: bytes) -> bytes | None:
    found = None
    while extra:
        kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if len(extra) < 4 + length or (kind == ZIP64_EXTRA and found is not None):
            raise _broken(source, "has malformed extra fields")
        if kind == ZIP64_EXTRA:
            found = extra[4 : 4 + length]
        extra = extra[4 + length :]
    return found


def _read_entry(source: ByteSource, record: _Record, name: str, limit: int) -> tuple[ZipEntry, int]:
    """Compare the local header (and descriptor) with the directory. Return the entry, and where it ends."""
    if record.header + LOCAL.size > limit:
        raise _broken(source, f"has an entry {name!r} that begins behind the directory")
    fields = LOCAL.unpack(read_bytes(source, record.header, LOCAL.size))
    signature, _, flags, method, _, _, crc32, packed, size, name_length, extra_length = fields
    offset = record.header + LOCAL.size + name_length + extra_length
    end = offset + record.size
    if signature != b"PK\x03\x04" or end > limit:
        raise _broken(source, f"has an entry {name!r} that does not fit in it")
    tail = read_bytes(source, record.header + LOCAL.size, name_length + extra_length)
    if tail[:name_length] != record.name:
        raise _broken(source, f"calls one entry {tail[:name_length]!r} and {record.name!r}")
    if flags != record.flags or method != STORED:
        raise _broken(source, f"has an entry {name!r} whose two headers disagree")
    if flags & HAS_DESCRIPTOR and (crc32, packed, size) == (0, 0, 0):
        # The sizes follow in the descriptor. miniz puts a zip64 field of its own kind here, which nobody reads.
        _find_extra(source, tail[name_length:])
    else:
        size, packed, _, _ = _widen(source, tail[name_length:], (size, packed, 0, 0))
        if (crc32, packed, size) != (record.crc32, record.size, record.size):
            raise _broken(source, f"has an entry {name!r} whose two headers disagree")
    if flags & HAS_DESCRIPTOR:
        end = _read_descriptor(source, record, name, end)
    return ZipEntry(name, offset, record.size, record.crc32), end


def _read_descriptor(source: ByteSource, record: _Record, name: str, position: int) -> int:
    """Check the data descriptor after the content. Its sizes have 8 bytes each in a zip64 entry. Return its end."""
    for form in (DESCRIPTOR, DESCRIPTOR64):
        if position + form.size > source.size:
            continue
        fields = form.unpack(read_bytes(source, position, form.size))
        if fields == (b"PK\x07\x08", record.crc32, record.size, record.size):
            return position + form.size
    raise _broken(source, f"has an entry {name!r} whose descriptor disagrees with the directory")


def _decode_name(source: ByteSource, name: bytes) -> str:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(source, f"has an entry {name!r} whose name is not UTF-8") from error
    parts = text.split("/")
    if not text.isprintable() or "\\" in text or any(part in ("", ".", "..") for part in parts):
        raise _broken(source, f"has an entry with the unsafe name {text[:80]!r}")
    return text


def _broken(source: ByteSource, what: str, hint: str = "") -> CheckpointError:
    return CheckpointError(f"{source.name}: the file {what}", hint=hint or "get it from its publisher again")
