"""How two checkpoints differ."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.text import BAD, GOOD, MAX_ROWS, UNSURE, foreign, new_table, note, verdict

if TYPE_CHECKING:
    from magnetar.convert.compare.comparison_report import Sameness


def draw_sameness(found: "Sameness") -> RenderableType:
    """Which tensors of two checkpoints differ, and how."""
    table = new_table("tensor", "how", "")
    for difference in found.differences[:MAX_ROWS]:
        error = f"NMSE {difference.error:.1e}" if difference.error is not None else ""
        words = "; ".join(filter(None, (difference.detail, error)))
        table.add_row(foreign(difference.name), Text(difference.how.value), foreign(words))
    parts: list[RenderableType] = [table] if found.differences else []
    more = len(found.differences) - MAX_ROWS
    parts += [note(f"and {more} more")] if more > 0 else []
    for order in found.experts:
        follows = "the router follows" if order.router_follows else "the router does not"
        parts.append(note(f"layer {order.layer}: experts {list(order.order)}; {follows}"))
    words = f"{found.identical} of {found.tensors} tensors are the same bit for bit, seen as {found.layout}"
    parts += [note(f"in the second, {difference}") for difference in found.configuration]
    style, word = {
        Outcome.GOOD: (GOOD, "the same tensors"),
        Outcome.UNKNOWN: (UNSURE, "rounded or quantised"),
    }.get(found.of_tensors, (BAD, "not the same tensors"))
    if found.configuration:
        style, word = BAD, f"{word}, and another configuration"
    if found.outcome is Outcome.GOOD:
        parts.append(note("tokenizers, templates and code were not compared"))
    return Group(*parts, verdict(word, style, words))
