"""Two tellings of the same model, side by side."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from magnetar.render_shapes import new_table
from magnetar.render_text import clean

if TYPE_CHECKING:
    from magnetar.model.against import Agreement


def draw_agreement(agreement: "Agreement") -> Table:
    """How far these weights and the other are from each other, on the same tokens."""
    table = new_table(f"against {clean(agreement.other)}", ">", "")
    for name, value, remark in list_agreement(agreement):
        table.add_row(name, value, Text(clean(remark), style="dim"))
    return table


def list_agreement(agreement: "Agreement") -> list[tuple[str, str, str]]:
    """The rows: what is compared, the number, and what is allowed."""
    found, allowed = agreement.comparison, agreement.comparison.allowance
    first, tokens = agreement.first_difference, agreement.tokens
    where = "" if first is None else f", the first other one at {first}"
    excess = "" if agreement.excess is None else f"{agreement.excess:+.4f} here"
    scores = (agreement.bits_per_byte, agreement.other_bits_per_byte)
    ours, theirs = ("unknown" if score is None else f"{score:.4f}" for score in scores)
    rows = [
        ("tokens", f"{tokens:,}", f"kept there as {agreement.kind or 'it does not say'}"),
        ("likeliest piece", f"{found.agreement:.1%}", f"{allowed.agreement:.0%} is wanted{where}"),
        ("KL, in nats", f"{found.divergence:.2g}", f"{allowed.divergence:g} is allowed"),
        ("NMSE of the logits", f"{found.nmse:.2g}", f"{allowed.nmse:g} is allowed"),
        ("bits per byte", ours, f"{theirs} there" + (f"; {excess}" if excess else "")),
    ]
    if found.layer_errors:
        stray = "none" if found.first_diverging is None else str(found.first_diverging)
        rows.append(("first layer that strays", stray, ""))
    return rows
