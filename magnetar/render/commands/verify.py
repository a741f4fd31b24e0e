"""What verification found: files against their digests, or the tensors of a converted copy against theirs."""

from collections.abc import Iterable, Iterator, Sequence
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
    from magnetar.manifests.checking.ledger import Ledger, Row
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
    others = frozenset(report.unexpected)
    beside = [row for row in report.ledger.rows if row.name in others and row.state == "not checked"]
    harmless = [row.name for row in beside if not row.loadable]
    unexpected = [*draw_rows(beside), *(note(f"not part of the release: {path}") for path in harmless[:MAX_ROWS])]
    unexpected += [note(f"and {len(harmless) - MAX_ROWS:,} more")] if len(harmless) > MAX_ROWS else []
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
    if unchanged and report.outcome is Outcome.GOOD:
        against = f"{unchanged} of {len(report.files)} files were not read; {against}"
    if report.findings and all(finding.kind == "not-arrived" for finding in report.findings):
        return verdict("not whole yet", BAD, f"go on with magnetar fetch; {against}")
    return draw_verdict(report.ledger, against)


def draw_verdict(ledger: "Ledger", against: str) -> Text:
    """The last line: what all rows of a ledger come to."""
    left = several(len({row.file for row in ledger.not_checked}), "file")
    match ledger.outcome:
        case Outcome.GOOD:
            style = GOOD if ledger.verdict in ("the release", "undamaged, by its own word") else UNSURE
            words = "unchanged since it was good" if ledger.verdict == "unchanged" else f"good: {ledger.verdict}"
            return verdict(words, style, against)
        case Outcome.UNKNOWN if ledger.verdict == "the same tensors":
            return verdict(f"the same tensors; {left} not fully checked", UNSURE, against)
        case Outcome.UNKNOWN:
            return verdict("not all could be checked; nothing wrong was found", UNSURE, against)
        case Outcome.FAILED:
            return verdict("not all could be read; nothing wrong was found in the rest", BAD, against)
        case _:
            return verdict("not the release", BAD, against)


def draw_rows(rows: Iterable["Row"]) -> Iterator[RenderableType]:
    """What is wrong, could not be read, or was not checked although a runtime could load it, the worst first."""
    styles = {"wrong": "red", "unreadable": "red", "not checked": "yellow"}
    told = [row for row in rows if row.state in styles and (row.loadable or row.state != "not checked")]
    parts = {(row.file, row.state) for row in told if row.subject != "file"}
    told = [row for row in told if row.subject != "file" or (row.file, row.state) not in parts]
    told.sort(key=lambda row: list(styles).index(row.state))
    for row in told[:MAX_ROWS]:
        where = row.name if row.name == row.file else f"{row.file}: {row.name}"
        yield Hanging.assemble((f"  {row.state}", styles[row.state]), f": {clean(where)}: {clean(row.detail)}")
    if len(told) > MAX_ROWS:
        yield note(f"and {len(told) - MAX_ROWS:,} more; --json lists them")


def draw_copy(copy: "ProvenCopy") -> RenderableType:
    """What of a converted copy is not its release's, or was not checked, and the verdict on all of it."""
    parts: list[RenderableType] = []
    for proof in copy.proofs:
        others = [tensor for tensor in proof.tensors if tensor.error is not None]
        table = new_table("tensor", "against the release", "")
        for tensor in others[:MAX_ROWS]:
            exact = "just what quantising the release gives" if tensor.reproduced else ""
            table.add_row(foreign(tensor.name), f"NMSE {tensor.error:.1e}", exact)
        parts += [table] if others else []
        parts += [note(f"and {len(others) - MAX_ROWS} more")] if len(others) > MAX_ROWS else []
        same = sum(tensor.standing == "same" for tensor in proof.tensors)
        where = f"{proof.path}, {proof.layout}"
        parts.append(note(f"{where}: {same} of {len(proof.tensors)} tensors are the publisher's bit for bit"))
    for subject, words in (
        ("configuration key", "keys of its configuration"),
        ("vocabulary", "parts of its vocabulary"),
    ):
        rows = [row for row in copy.ledger.rows if row.subject == subject and (row.loadable or row.state == "wrong")]
        proven = sum(row.state == "proven" for row in rows)
        parts += [note(f"{proven} of {len(rows)} {words} are what the release derives to")] if rows else []
    parts += draw_rows(copy.ledger.rows)
    if copy.single:
        parts.append(note("only this file was looked at: what lies beside it was not checked"))
    against = f"{copy.path}: held against {copy.release}: {copy.reason}"
    return Group(*parts, draw_verdict(copy.ledger, against))


def draw_verified(verified: "VerifyReport | ProvenCopy") -> RenderableType:
    """A report on files, or on a converted copy."""
    from magnetar.manifests.checking.verify_report import VerifyReport

    if isinstance(verified, VerifyReport):
        return draw_report(verified)
    return draw_copy(verified)
