"""What the ledger says: releases, manifests, and what verification found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.shapes import BAD, GOOD, UNSURE, new_table, note, verdict
from magnetar.render.text import binary, clean, count

if TYPE_CHECKING:
    from magnetar.manifests.checking.report import FileDamage, VerifyReport
    from magnetar.manifests.schema import Manifest
    from magnetar.pipeline.proving.verify_copy import ProvenCopy

MOST_RANGES = 4
MOST_TENSORS = 12
"""Rows of what may be thousands."""


def draw_catalog(releases: Sequence["Manifest"]) -> RenderableType:
    """One row a release."""
    table = new_table("name", "publisher", "published", ">parameters", ">active", "licence")
    for release in releases:
        facts = release.architecture
        table.add_row(
            Text(release.name, style="bold"),
            clean(release.publisher),
            str(release.published or "unknown"),
            count(facts.total_parameters),
            count(facts.active_parameters),
            clean(release.licence),
        )
    return Group(table, note("magnetar catalog show NAME tells the rest"))


def draw_report(report: "VerifyReport") -> RenderableType:
    """Every file with its verdict, every finding, where the damage is, and what the whole is worth."""
    table = new_table("file", ">size", "verdict", "checked by")
    styles = {"good": "green", "bad": "red", "unchanged": "green", "not checked": "yellow"}
    for file in report.files:
        size = decimal(file.size) if file.size is not None else "unknown"
        verdict = Text(file.state.value, style=styles[file.state])
        checked_by = "; ".join(filter(None, (", ".join(file.checked_by), file.detail)))
        table.add_row(Text(clean(file.path)), size, verdict, checked_by)
    findings = [
        Text.assemble(("  " + f.kind, "red"), f": {clean(f.subject)}: {clean(f.detail)}") for f in report.findings
    ]
    unexpected = [note(f"not part of the release: {path}") for path in report.unexpected]
    parts: list[RenderableType] = [table, *findings, draw_damage(report.damage), *unexpected]
    mendable = {damage.path for damage in report.damage}
    hint = [note(f"magnetar repair {report.folder} fetches again only what is damaged")] if mendable else []
    return Group(*parts, *hint, _conclude(report))


def draw_damage(damage: Sequence["FileDamage"]) -> RenderableType:
    """Where each file is damaged: bytes, pieces, and the tensors whose bytes these are."""
    lines: list[RenderableType] = []
    for one in damage:
        pieces = f" in {len(one.pieces):,} piece{'s'[: len(one.pieces) > 1]}" if one.pieces else ""
        places = ", ".join(f"{offset:,}-{offset + length:,}" for offset, length in one.ranges[:MOST_RANGES])
        more = ", ..." if len(one.ranges) > MOST_RANGES else ""
        lines.append(Text(f"  {clean(one.path)}: {binary(one.damaged)}{pieces}: bytes {places}{more}"))
        lines += [
            Text(f"    {clean(tensor.name)}: {binary(tensor.damaged)} of {binary(tensor.nbytes)}")
            for tensor in one.tensors[:MOST_TENSORS]
        ]
        rest = len(one.tensors) - MOST_TENSORS
        lines += [note(f"  and {rest:,} more tensors; --json lists them")] if rest > 0 else []
        lines += [note(f"  {text}") for text in one.notes]
    return Group(*lines)


def _conclude(report: "VerifyReport") -> Text:
    against = f"held against {report.release}: {report.reason}"
    unchanged = sum(file.state == "unchanged" for file in report.files)
    match report.outcome:
        case Outcome.GOOD if unchanged:
            words = f"unchanged since it was good: {report.trust}"
            return verdict(words, UNSURE, f"{unchanged} of {len(report.files)} files were not read; {against}")
        case Outcome.GOOD:
            return verdict(f"good: {report.trust}", UNSURE if report.trust == "weak" else GOOD, against)
        case Outcome.UNKNOWN:
            return verdict("not all could be checked; nothing wrong was found", UNSURE, against)
        case _:
            return verdict("not the release", BAD, against)


def draw_verified(verified: "VerifyReport | ProvenCopy") -> RenderableType:
    """A report on files, or a proof of tensors."""
    from magnetar.manifests.checking.report import VerifyReport

    if isinstance(verified, VerifyReport):
        return draw_report(verified)
    from magnetar.render.same import draw_proof

    return draw_proof(verified)
