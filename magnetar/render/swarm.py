"""What the swarm brought, would bring, and is given, as a person reads it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from magnetar.render.shapes import BAD, GOOD, UNSURE, new_table, note, verdict
from magnetar.render.text import binary, clean, clock, pace, several
from magnetar.render.verify import draw_damage

if TYPE_CHECKING:
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.fetch.download.plan import FetchPlan
    from magnetar.fetch.seed.seed import Seeding, Served
    from magnetar.pipeline.repair import RepairedRelease, ReplacedRelease


def draw_fetched(fetched: "Fetched") -> RenderableType:
    """Where the release is now, what came and went, and how to go on seeding."""
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
    """What a fetch would bring, and what stands in its way."""
    table = new_table("file", ">size", "")
    wanted = {file.path for file in plan.wanted}
    for file in plan.metadata.files:
        remark = "" if file.path in wanted else Text("left out", style="yellow")
        table.add_row(Text(clean(file.path)), decimal(file.size), remark)
    lines = [
        note(f"into {plan.folder}: {decimal(plan.missing)} to come, {decimal(plan.free)} free"),
        note(f"{several(plan.peers, 'peer')}, {several(plan.seeds, 'seed')}. Seen: {plan.seen}"),
        *(note(f"healed: {healed}") for healed in plan.healed),
    ]
    if plan.obstacles:
        return Group(table, *lines, *(verdict("in the way", BAD, obstacle) for obstacle in plan.obstacles))
    return Group(table, *lines, verdict("nothing is in the way", GOOD, "nothing was written"))


def draw_repaired(done: "RepairedRelease | ReplacedRelease") -> RenderableType:
    """What was damaged, where the good pieces or files came from, and what was written."""
    from magnetar.pipeline.repair import RepairedRelease

    return _draw_mended(done) if isinstance(done, RepairedRelease) else _draw_replaced(done)


def _draw_replaced(done: "ReplacedRelease") -> RenderableType:
    found = done.replaced
    lines: list[RenderableType] = [note(f"replaced as a whole: {path}") for path in found.files]
    lines += [note(f"nothing says what it should be: {path}") for path in done.not_checked]
    if found.files:
        lines.append(note(f"{binary(found.adopted)} from copies here, {binary(found.downloaded)} downloaded"))
    if done.still_bad:
        return Group(
            *lines, verdict("not repaired", BAD, f"the manifest lacks size or digest of {', '.join(done.still_bad)}")
        )
    style = UNSURE if done.weak or done.not_checked else GOOD
    if not found.files:
        return Group(*lines, verdict("nothing is damaged", style, f"{done.folder}: held against its digests"))
    proof = "MD5 or SHA-1 alone" if done.weak else "its digests"
    words = f"{done.folder}: {several(len(found.files), 'file')}, each proven by {proof}"
    return Group(*lines, verdict("repaired", style, words))


def _draw_mended(done: "RepairedRelease") -> RenderableType:
    repaired = done.repaired
    lines: list[RenderableType] = [draw_damage(done.damage)]
    lines += [note(f"brought to its size: {path}") for path in repaired.resized]
    lines += [note(f"not here, and left out: {path}") for path in repaired.left_out]
    if not repaired.pieces and not repaired.resized:
        return Group(*lines, verdict("nothing is damaged", GOOD, f"{repaired.folder}: every piece checked"))
    if repaired.pieces:
        came = f"{binary(repaired.adopted)} from copies here, {binary(repaired.downloaded)} downloaded"
        lines.append(note(f"{came}; {binary(repaired.written)} written in {clock(repaired.seconds)}"))
    words = f"{repaired.folder}: {repaired.pieces:,} pieces, {binary(repaired.damaged)}; every piece is good now"
    return Group(*lines, verdict("repaired", GOOD, words))


def draw_seeding(seeding: "Seeding") -> RenderableType:
    """The link, alone on its line so that it can be copied or piped."""
    return Text(clean(seeding.magnet), no_wrap=True, overflow="ignore")


def draw_served(served: Sequence["Served"]) -> RenderableType:
    """One row for each release that is being seeded."""
    table = new_table("release", ">peers", ">sent", ">ratio", ">time")
    for one in served:
        size = max(one.metadata.total_size, 1)
        ratio, sent = f"{one.uploaded / size:.2f}", decimal(one.uploaded)
        table.add_row(Text(clean(one.metadata.name)), str(one.peers), sent, ratio, clock(one.seconds))
    return table
