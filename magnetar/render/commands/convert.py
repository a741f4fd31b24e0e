"""What was converted, or would be."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal

from magnetar.render.text import BAD, GOOD, clock, foreign, new_table, note, pace, verdict

if TYPE_CHECKING:
    from magnetar.convert.write.convert import Converted, Forecast


def draw_converted(converted: "Converted") -> RenderableType:
    """What was written, and how it was proven."""
    table = new_table("file", ">size", "sha256")
    for file in converted.files:
        table.add_row(foreign(file.path), decimal(file.size), file.sha256)
    notes = [note(text) for text in (f"layout {converted.layout}: {converted.reason}", *converted.notes)]
    return Group(table, *notes, verdict("converted", GOOD, f"{converted.destination}: {_describe(converted)}"))


def _describe(converted: "Converted") -> str:
    """What this run did, and what it proved; no more."""
    words = f"{converted.tensors} tensors, {decimal(converted.bytes)}"
    if converted.already:
        words = f"had been converted before, as its journal says: {words}"
    else:
        words += f" in {clock(converted.seconds)}, {pace(converted.bytes, converted.seconds, 'B')}"
    if converted.listed:
        many = "all" if converted.proven == converted.listed else f"{converted.proven} of {converted.listed}"
        words += f"; {many} have the digests in {converted.listed_in}"
    if not converted.verified:
        return f"{words}; not compared"
    return f"{words}; read back in {clock(converted.comparing)} and compared with the source bit for bit"


def draw_forecast(forecast: "Forecast") -> RenderableType:
    """What a conversion would write, with a line for each file and tensor, and the disk and memory that it needs."""
    lines = [foreign(line, no_wrap=True, overflow="ignore") for line in forecast.steps]
    turned = (
        f"{forecast.tensors - forecast.turned} tensors are copied, {forecast.turned} change the order of their rows"
    )
    needs = f"{decimal(forecast.missing)} of disk, where {decimal(forecast.free)} are free, and about "
    needs += f"{decimal(forecast.memory)} of memory"
    fits = verdict("fits", GOOD, needs) if forecast.missing <= forecast.free else verdict("does not fit", BAD, needs)
    return Group(*lines, note(f"layout {forecast.layout}: {forecast.reason}"), note(turned), fits)
