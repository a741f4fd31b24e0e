"""What was repaired: pieces, or whole files."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from magnetar.render.commands.verify import draw_damage
from magnetar.render.text import BAD, GOOD, UNSURE, binary, clock, note, several, verdict

if TYPE_CHECKING:
    from magnetar.pipeline.repair import RepairedRelease, ReplacedRelease


def draw_repaired(done: "RepairedRelease | ReplacedRelease") -> RenderableType:
    """What was damaged, where the good pieces or files came from, and what was written."""
    from magnetar.pipeline.repair import RepairedRelease

    return _draw_repaired_pieces(done) if isinstance(done, RepairedRelease) else _draw_replaced_files(done)


def _draw_replaced_files(done: "ReplacedRelease") -> RenderableType:
    found = done.replaced
    lines: list[RenderableType] = [note(f"replaced as a whole: {path}") for path in found.files]
    lines += [note(f"nothing says what it should be: {path}") for path in done.not_checked]
    if found.files:
        lines.append(note(f"{binary(found.adopted)} from copies here, {binary(found.downloaded)} downloaded"))
    if done.still_bad:
        return Group(
            *lines, verdict("not repaired", BAD, f"the manifest lacks size or digest of {', '.join(done.still_bad)}")
        )
    if done.unreadable:
        return Group(*lines, verdict("not all could be read", BAD, f"{done.folder}: {', '.join(done.unreadable)}"))
    style = UNSURE if done.weak or done.not_checked else GOOD
    if not found.files:
        return Group(*lines, verdict("nothing is damaged", style, f"{done.folder}: held against its digests"))
    proof = "MD5 or SHA-1 alone" if done.weak else "its digests"
    words = f"{done.folder}: {several(len(found.files), 'file')}, each proven by {proof}"
    return Group(*lines, verdict("repaired", style, words))


def _draw_repaired_pieces(done: "RepairedRelease") -> RenderableType:
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
