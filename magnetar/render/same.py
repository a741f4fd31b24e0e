"""TODO-DOC."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.shapes import BAD, GOOD, UNSURE, new_table, note, verdict
from magnetar.render.text import clean

if TYPE_CHECKING:
    from magnetar.convert.compare.comparison_report import Sameness
    from magnetar.pipeline.proving.verify_copy import ProvenCopy


MOST_ROWS = 40


def draw_proof(proven: "ProvenCopy") -> RenderableType:
    """What of a converted copy is the publisher's, and what is not."""
    proof = proven.proof
    odd = [tensor for tensor in proof.tensors if tensor.standing != "same"]
    table = new_table("tensor", "verdict", "")
    for tensor in odd[:MOST_ROWS]:
        error = f"NMSE {tensor.error:.1e}" if tensor.error is not None else ""
        exact = "just what quantising the release gives" if tensor.reproduced else ""
        words = "; ".join(filter(None, (tensor.detail, error, exact)))
        style = "yellow" if tensor.standing == "not comparable" else "red"
        table.add_row(Text(clean(tensor.name)), Text(tensor.standing.value, style=style), Text(clean(words)))
    parts: list[RenderableType] = [table] if odd else []
    parts += [note(f"and {len(odd) - MOST_ROWS} more")] if len(odd) > MOST_ROWS else []
    against = f"{proof.path}, {proof.layout}: held against the tensors of {proven.release}"
    same = f"{len(proof.tensors) - len(odd)} of {len(proof.tensors)} tensors are the publisher's bit for bit"
    match proof.outcome:
        case Outcome.GOOD:
            return Group(*parts, note(same), verdict(f"good: {proven.trust}", GOOD, against))
        case Outcome.UNKNOWN:
            return Group(*parts, note(same), verdict("not all could be compared", UNSURE, against))
        case _:
            return Group(*parts, note(same), verdict("not the same weights", BAD, against))


def draw_sameness(found: "Sameness") -> RenderableType:
    """Which tensors of two checkpoints differ, and how."""
    table = new_table("tensor", "how", "")
    for difference in found.differences[:MOST_ROWS]:
        error = f"NMSE {difference.error:.1e}" if difference.error is not None else ""
        words = "; ".join(filter(None, (difference.detail, error)))
        table.add_row(Text(clean(difference.name)), Text(difference.how.value), Text(clean(words)))
    parts: list[RenderableType] = [table] if found.differences else []
    more = len(found.differences) - MOST_ROWS
    parts += [note(f"and {more} more")] if more > 0 else []
    for order in found.experts:
        follows = "the router follows" if order.router_follows else "the router does not"
        parts.append(note(f"layer {order.layer}: experts {list(order.order)}; {follows}"))
    words = f"{found.identical} of {found.tensors} tensors are the same bit for bit, seen as {found.layout}"
    style, word = {
        Outcome.GOOD: (GOOD, "the same weights"),
        Outcome.UNKNOWN: (UNSURE, "rounded or quantised"),
    }.get(found.outcome, (BAD, "not the same weights"))
    return Group(*parts, verdict(word, style, words))
