"""What ``get`` did: each step with its verdict, and in full what went wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.commands.boot import draw_boot
from magnetar.render.commands.verify import draw_report
from magnetar.render.text import BAD, GOOD, UNSURE, clock, foreign, new_table, note, verdict

if TYPE_CHECKING:
    from magnetar.pipeline.get import Got, StepDone


def draw_got(got: "Got") -> RenderableType:
    """The steps with their verdicts, what went wrong in full, and the folder of the result."""
    return Group(draw_steps_and_faults(got), conclude(got, str(got.result)))


def draw_steps_and_faults(got: "Got") -> RenderableType:
    """The boot, the report on the files if it is not good, and the table of the steps."""
    parts: list[RenderableType] = [] if got.boot is None else [draw_boot(got.boot), Text("")]
    if got.report is not None and got.report.outcome is not Outcome.GOOD:
        parts += [draw_report(got.report), Text("")]
    return Group(*parts, draw_steps(got.steps), *(note(f"not done: {name}") for name in got.not_done))


def conclude(got: "Got", where: str) -> Text:
    """The verdict on the whole; ``where`` says where the result is."""
    style, word = {
        Outcome.GOOD: (GOOD, "done, and good"),
        Outcome.BAD: (BAD, "not good"),
        Outcome.FAILED: (BAD, "not all could be read"),
        Outcome.UNKNOWN: (UNSURE, "not all checked"),
    }[got.outcome]
    return verdict(word, style, where)


def draw_steps(steps: Sequence["StepDone"]) -> Table:
    """One row a step: name, verdict, time."""
    table = new_table("step", "verdict", ">time")
    for step in steps:
        table.add_row(Text(step.name, style="bold"), foreign(step.verdict), clock(step.seconds))
    return table
