"""What a link, a torrent or a checkpoint says of itself."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from magnetar.render.text import count, foreign, new_table, note

if TYPE_CHECKING:
    from magnetar.pipeline.inspect import SeenTorrent, SeenWeights


def draw_inspection(seen: "SeenTorrent | SeenWeights") -> RenderableType:
    """What a link, a torrent or a checkpoint holds."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _torrent_facts(seen) if seen.kind != "weights" else _weights_facts(seen):
        facts.add_row(Text(name, style="dim"), foreign(value, overflow="fold"))
    if seen.kind != "weights":
        return Group(facts, *_draw_files(seen))
    if seen.tensors is None:
        return Group(facts, note("--tensors lists them"))
    table = new_table("tensor", "dtype", "shape", ">size")
    for tensor in seen.tensors:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        table.add_row(foreign(tensor.name), foreign(tensor.dtype), shape, decimal(tensor.bytes))
    return Group(facts, table)


def _torrent_facts(seen: "SeenTorrent") -> Iterable[tuple[str, str]]:
    yield "name", seen.name or "not in the link"
    yield "release", seen.release or "not in the catalog"
    for name, infohash in (("infohash v1", seen.infohash_v1), ("infohash v2", seen.infohash_v2)):
        if infohash:
            yield name, infohash
    for healed in seen.healed:
        yield "healed", healed
    for tracker in seen.trackers:
        yield "tracker", tracker
    if seen.private:
        yield "private", "peers come from its own trackers only"
    yield "clean link", seen.magnet


def _draw_files(seen: "SeenTorrent") -> Iterable[RenderableType]:
    if seen.files is None:
        yield note("the files are listed in the metadata, which only the swarm has: magnetar fetch brings it")
        return
    table = new_table("file", ">size")
    for file in seen.files:
        table.add_row(foreign(file.path), decimal(file.size) if file.size is not None else "unknown")
    yield table


def _weights_facts(seen: "SeenWeights") -> Iterable[tuple[str, str]]:
    yield "path", seen.path
    yield "release", seen.candidate or "none that the catalog knows by content"
    yield "container", seen.container
    yield "layout", f"{seen.layout or 'unknown'}: {seen.reason}"
    yield "parameters", f"{seen.total_parameters:,} ({count(seen.total_parameters)})"
    if seen.active_parameters is not None:
        yield "active", f"{seen.active_parameters:,} ({count(seen.active_parameters)}) for a token"
    yield "tensors", f"{seen.tensor_count}, {decimal(seen.bytes)}, {', '.join(seen.dtypes)}"
