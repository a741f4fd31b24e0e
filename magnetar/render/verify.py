"""What verification found: files against their digests, or the tensors of a converted copy against theirs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.text import (
    BAD,
    GOOD,
    MAX_ROWS,
    UNSURE,
    Hanging,
    binary,
    clean,
    foreign,
    new_table,
    note,
    several,
    verdict,
)

if TYPE_CHECKING:
    from magnetar.manifests.checking.verify_report import FileDamage, VerifyReport
    from magnetar.pipeline.proving.verify_copy import ProvenCopy

MAX_RANGES = 4
MAX_TENSORS = 12
"""Byte ranges, and tensors, that are shown of each damaged file."""


def draw_report(report: "VerifyReport") -> RenderableType:
    """Every file with its verdict, every finding, where the damage is, and the verdict on the whole."""
    table = new_table("file", ">size", "verdict", "checked by")
    styles = {"good": "green", "bad": "red", "unchanged": "green", "not checked": "yellow", "unreadable": "red"}
    for file in report.files:
        size = decimal(file.size) if file.size is not None else "unknown"
        verdict = Text(file.state.value, style=styles[file.state])
        words = "; ".join(filter(None, (", ".join(file.checked_by), file.detail)))
        table.add_row(foreign(file.path), size, verdict, foreign(words))
    findings = [
        Hanging.assemble(("  " + f.kind, "red"), f": {clean(f.subject)}: {clean(f.detail)}") for f in report.findings
    ]
    unexpected = [note(f"not part of the release: {path}") for path in report.unexpected]
    closed = [note(f"is a folder that cannot be read: {path}") for path in report.unreadable_folders]
    parts: list[RenderableType] = [table, *findings, draw_damage(report.damage), *unexpected, *closed]
    mendable = {damage.path for damage in report.damage}
    hint = [note(f"magnetar repair {report.folder} fetches again only what is damaged")] if mendable else []
    return Group(*parts, *hint, _conclude(report))


def draw_damage(damage: Sequence["FileDamage"]) -> RenderableType:
    """Where each file is damaged: bytes, pieces, and the tensors whose bytes these are."""
    return Group(*(line for file in damage for line in _draw_damaged_file(file)))


def _draw_damaged_file(file: "FileDamage") -> Iterator[RenderableType]:
    pieces = f" in {several(len(file.pieces), 'piece')}" if file.pieces else ""
    places = ", ".join(f"{offset:,}-{offset + length:,}" for offset, length in file.ranges[:MAX_RANGES])
    more = ", ..." if len(file.ranges) > MAX_RANGES else ""
    yield Hanging(f"  {clean(file.path)}: {binary(file.damaged)}{pieces}: bytes {places}{more}")
    for tensor in file.tensors[:MAX_TENSORS]:
        yield Hanging(f"    {clean(tensor.name)}: {binary(tensor.damaged)} of {binary(tensor.nbytes)}")
    if len(file.tensors) > MAX_TENSORS:
        yield note(f"  and {len(file.tensors) - MAX_TENSORS:,} more tensors; --json lists them")
    for text in file.notes:
        yield note(f"  {text}")


def _conclude(report: "VerifyReport") -> Text:
    against = f"held against {report.release}: {report.reason}"
    unchanged = sum(file.state == "unchanged" for file in report.files)
    match report.outcome:
        case Outcome.GOOD if unchanged:
            words = f"unchanged since it was good: {report.trust}"
            return verdict(words, UNSURE, f"{unchanged} of {len(report.files)} files were not read; {against}")
        case Outcome.GOOD:
            return verdict(f"good: {report.trust}", UNSURE if report.trust == "weak" else GOOD, against)
        case Outcome.FAILED:
            return verdict("not all could be read; nothing wrong was found in the rest", BAD, against)
        case Outcome.UNKNOWN:
            return verdict("not all could be checked; nothing wrong was found", UNSURE, against)
        case _:
            return verdict("not the release", BAD, against)


def draw_proof(proven: "ProvenCopy") -> RenderableType:
    """Which tensors of a converted copy are not the publisher's, and the verdict on all of them."""
    proof = proven.proof
    others = [tensor for tensor in proof.tensors if tensor.standing != "same"]
    table = new_table("tensor", "verdict", "")
    for tensor in others[:MAX_ROWS]:
        error = f"NMSE {tensor.error:.1e}" if tensor.error is not None else ""
        exact = "just what quantising the release gives" if tensor.reproduced else ""
        words = "; ".join(filter(None, (tensor.detail, error, exact)))
        style = "yellow" if tensor.standing == "not comparable" else "red"
        table.add_row(foreign(tensor.name), Text(tensor.standing.value, style=style), foreign(words))
    parts: list[RenderableType] = [table] if others else []
    parts += [note(f"and {len(others) - MAX_ROWS} more")] if len(others) > MAX_ROWS else []
    against = f"{proof.path}, {proof.layout}: held against the tensors of {proven.release}"
    same = f"{len(proof.tensors) - len(others)} of {len(proof.tensors)} tensors are the publisher's bit for bit"
    match proof.outcome:
        case Outcome.GOOD:
            return Group(*parts, note(same), verdict(f"good: {proven.trust}", GOOD, against))
        case Outcome.FAILED:
            return Group(*parts, note(same), verdict("not all could be read", BAD, against))
        case Outcome.UNKNOWN:
            return Group(*parts, note(same), verdict("not all could be compared", UNSURE, against))
        case _:
            return Group(*parts, note(same), verdict("not the same weights", BAD, against))


def draw_verified(verified: "VerifyReport | ProvenCopy") -> RenderableType:
    """A report on files, or a proof of tensors."""
    from magnetar.manifests.checking.verify_report import VerifyReport

    if isinstance(verified, VerifyReport):
        return draw_report(verified)
    return draw_proof(verified)
