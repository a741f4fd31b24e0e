"""The whole path as a person reads it: each step with its verdict, and what went wrong in full."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.boot import draw_boot
from magnetar.render.shapes import BAD, GOOD, UNSURE, new_table, note, verdict
from magnetar.render.text import clean, clock
from magnetar.render.verify import draw_report

if TYPE_CHECKING:
    from magnetar.pipeline.demo import Demonstrated
    from magnetar.pipeline.get import Got, StepDone


def draw_got(got: "Got") -> RenderableType:
    """The steps as a table, with what went wrong in full."""
    return Group(_draw_path(got), _conclude_path(got, str(got.result)))


def _draw_path(got: "Got") -> RenderableType:
    parts: list[RenderableType] = [] if got.boot is None else [draw_boot(got.boot), Text("")]
    if got.report is not None and got.report.outcome is not Outcome.GOOD:
        parts += [draw_report(got.report), Text("")]
    return Group(*parts, draw_steps(got.steps), *(note(f"not done: {name}") for name in got.not_done))


def _conclude_path(got: "Got", where: str) -> Text:
    style, word = {Outcome.GOOD: (GOOD, "done, and good"), Outcome.UNKNOWN: (UNSURE, "not all checked")}.get(
        got.outcome, (BAD, "not good")
    )
    return verdict(word, style, where)


def draw_steps(steps: Sequence["StepDone"]) -> Table:
    """One row a step: name, verdict, time."""
    table = new_table("step", "verdict", ">time")
    for step in steps:
        table.add_row(Text(step.name, style="bold"), Text(clean(step.verdict)), clock(step.seconds))
    return table


def draw_demo(done: "Demonstrated") -> RenderableType:
    """The whole path, from the link to the verdict."""
    link = Text.assemble(("magnet link  ", "dim"), clean(done.magnet), no_wrap=True, overflow="ellipsis")
    where = f"left in {done.folder}" if done.kept else "the folders are gone again; --keep leaves them"
    return Group(link, Text(""), _draw_path(done.got), _conclude_path(done.got, where))
