"""Every set of weights that a folder holds, whatever its files are called.

``read.find_weights`` chooses what a runtime would load, by names. Here the first bytes of each file say what it is.
Files that are numbered as shards, and the parts of a file that was split, are one set.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from magnetar.byte_source import SourceFolder, read_bytes
from magnetar.convert.formats.detect import HEAD, INDEX_SUFFIXES
from magnetar.convert.formats.gguf import MAGIC
from magnetar.convert.formats.grok import FILE as GROK_FILE
from magnetar.convert.formats.npz import is_npz
from magnetar.convert.formats.torch_legacy import LEGACY_PICKLE
from magnetar.convert.read.part_names import find_split, split_stem
from magnetar.errors import MagnetarError

MAX_FILES = 2048
"""Files whose first bytes are looked at. The largest release that is known has 770."""

LEAST_BYTES = 512
"""A smaller file holds no model."""

NUMBERED = (
    re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<rest>\.[^.]*)?"),
    re.compile(r"(?P<stem>consolidated)\.\d\d(?P<rest>\..*)"),
    re.compile(r"(?P<stem>tensor)\d{5}_000"),
)
"""Shards as transformers and llama.cpp number them, the publisher's parts or ranks, and the files of Grok-1.

Files with other names are sets of their own. Where these lack tensors, ``unite_parts`` puts them together.
"""


def find_sets(folder: SourceFolder) -> tuple[tuple[str, ...], ...]:
    """The names of the files of each set, in the order of names. A file that cannot be read is passed over.

    Raises ``OutsideError`` where the folder cannot be listed, or gives no more bytes.
    """
    sizes = dict(sorted(folder.sizes.items()))
    parts = defaultdict[str, list[str]](list)
    kinds: dict[str, str] = {}
    for name in list(sizes)[:MAX_FILES]:
        if GROK_FILE.fullmatch(name):
            kinds[name] = "grok"
        elif stem := split_stem(name):
            parts[stem].append(name)
        elif sizes[name] >= LEAST_BYTES and not name.endswith(INDEX_SUFFIXES) and (kind := _kind(folder, name)):
            kinds[name] = kind
    sets = [_in_order(names) for names in parts.values()]
    sets += _group(kinds)
    return tuple(sorted(sets))


def _in_order(names: list[str]) -> tuple[str, ...]:
    try:
        return tuple(find_split(names))
    except MagnetarError:  # a part is missing: opening the set will say so
        return tuple(names)


def _group(kinds: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
    """Files of one kind that are numbered as shards, or as the ranks of a tensor-parallel model, are one set."""
    groups = defaultdict[tuple[str, ...], list[str]](list)
    for name, kind in kinds.items():
        match = next((match for pattern in NUMBERED if (match := pattern.fullmatch(name))), None)
        alike = match.groupdict() if match else {"name": name}
        groups[kind, *alike.values()].append(name)
    return [tuple(names) for names in groups.values()]


def _kind(folder: SourceFolder, name: str) -> str:
    """Which container a file is by its first bytes; empty for none."""
    try:
        source = folder.open(name)
    except MagnetarError:
        return ""
    try:
        head = read_bytes(source, 0, min(HEAD, source.size))
    finally:
        source.close()
    if head.startswith(MAGIC):
        return "gguf"
    if is_npz(head):
        return "npz"
    if head.startswith(b"PK") or LEGACY_PICKLE in head[:32]:
        return "torch"
    return "safetensors" if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32 else ""
