"""The few shapes that every result is drawn with. Foreign text goes through ``clean`` and ``Text``: it is only text."""

from rich.table import Table
from rich.text import Text

from magnetar.render.text import clean

GOOD, BAD, UNSURE = "bold green", "bold red", "bold yellow"


def new_table(*headings: str) -> Table:
    """A plain table; a heading that begins with ``>`` stands over numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def verdict(word: str, style: str, rest: str) -> Text:
    """The last line of a result: a word or two that one sees first, then what they are about."""
    return Text.assemble((word, style), "  ", clean(rest))


def note(text: str) -> Text:
    """A line that may be passed over."""
    return Text("  " + clean(text), style="dim")
