"""What was fetched, or would be."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from magnetar.render.text import BAD, GOOD, clock, foreign, new_table, note, pace, several, verdict

if TYPE_CHECKING:
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.fetch.download.fetch_plan import FetchPlan


def draw_fetched(fetched: "Fetched") -> RenderableType:
    """The folder of the release, what was downloaded and sent, and how to go on seeding."""
    files, size = len(fetched.metadata.files), decimal(fetched.metadata.total_size)
    lines = [verdict("fetched", GOOD, f"{fetched.folder}: {files} files, {size}, every piece checked")]
    if fetched.downloaded:
        ratio = fetched.uploaded / fetched.downloaded
        speed = pace(fetched.downloaded, fetched.seconds, "B")
        came = f"{decimal(fetched.downloaded)} in {clock(fetched.seconds)}, {speed}"
        lines.append(note(f"{came}; sent {decimal(fetched.uploaded)} (ratio {ratio:.2f})"))
    else:
        lines.append(note("nothing had to be downloaded"))
    lines.append(note(f"to go on seeding: magnetar seed {fetched.folder}"))
    return Group(*lines)


def draw_fetch_plan(plan: "FetchPlan") -> RenderableType:
    """What a fetch would download, and why it could not."""
    table = new_table("file", ">size", "")
    wanted = {file.path for file in plan.wanted}
    for file in plan.metadata.files:
        remark = "" if file.path in wanted else Text("left out", style="yellow")
        table.add_row(foreign(file.path), decimal(file.size), remark)
    lines = [
        note(f"into {plan.folder}: {decimal(plan.missing)} to come, {decimal(plan.free)} free"),
        note(f"{several(plan.peers, 'peer')}, {several(plan.seeds, 'seed')}. Seen: {plan.seen}"),
        *(note(f"healed: {healed}") for healed in plan.healed),
    ]
    if plan.obstacles:
        return Group(table, *lines, *(verdict("in the way", BAD, obstacle) for obstacle in plan.obstacles))
    return Group(table, *lines, verdict("nothing is in the way", GOOD, "nothing was written"))
