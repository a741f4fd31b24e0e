"""Draw a report as one page of HTML: no scripts, nothing fetched, light and dark. Everything foreign is escaped."""

from collections.abc import Iterator, Mapping, Sequence

from magnetar.findings import Outcome
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.checks.cures import Cure, Diagnosis
from magnetar.model.checks.levels import LevelResult
from magnetar.model.compare.comparison import Agreement
from magnetar.model.html_report.figures import draw_curve, draw_load, draw_text, escaped
from magnetar.model.html_report.style import HEAD
from magnetar.version import __version__

MAX_TRIED_SHOWN = 12
"""Cures that are listed where none helped."""

MAX_FINDINGS_SHOWN = 40
"""Findings that are listed for a level."""


def draw_page(report: BootReport, name: str) -> str:
    """The page for the checkpoint called ``name``: the verdict first, then the facts that it rests on."""
    golden = report.golden
    parts = [
        *_draw_verdict(report, name),
        *_draw_levels(report.levels),
        *_draw_facts(_list_facts(report)),
        *_draw_agreement(report.agreement),
        *draw_curve("Residual stream after each layer", report.residual_rms, "its root mean square"),
        *draw_curve(
            "Error against the release, by layer",
            golden.layer_errors if golden else (),
            "the normalised squared error of the residual stream",
            allowed=golden.allowance.nmse if golden else None,
        ),
        *draw_load(report.expert_load),
        *draw_text(report.routed_text),
        *(["<h2>Sample</h2>", f"<pre>{escaped(report.sample.strip())}</pre>"] if report.sample else []),
        *_draw_diagnosis(report.diagnosis),
        *_draw_provenance(report, name),
    ]
    head = f"<head>{HEAD}<title>{escaped(name)}: {_describe_verdict(report)}</title></head>"
    return "\n".join(['<!doctype html>\n<html lang="en">', head, "<body><main>", *parts, "</main></body></html>\n"])


def _describe_verdict(report: BootReport) -> str:
    return "it works" if report.healthy else "it does not work"


def _draw_verdict(report: BootReport, name: str) -> Iterator[str]:
    mark, words = ("good", "It works.") if report.healthy else ("bad", "It does not work.")
    yield f'<header class="verdict {mark}"><h1>{escaped(name)}</h1><p class="word">{words}</p>'
    if report.healthy and report.bits_per_byte is not None:
        known = "" if report.expected is None else f", where {report.expected:.4f} was expected"
        yield f"<p>{report.bits_per_byte:.4f} bits per byte on {report.tokens:,} tokens{known}.</p>"
    yield _list(report.reasons[:MAX_FINDINGS_SHOWN])
    if report.diagnosis is not None and report.diagnosis.cure is not None:
        cure = report.diagnosis.cure
        what = f"It works when this is undone: <strong>{escaped(cure.name)}</strong>."
        yield f"<p>{what} What to do: {escaped(cure.advice)}.</p>"
    yield "</header>"


def _list_facts(report: BootReport) -> Mapping[str, str]:
    active = report.active_parameters
    known = {
        "bits per byte": _number(report.bits_per_byte, 4),
        "expected": _number(report.expected, 4),
        "tokens": f"{report.tokens:,}" if report.tokens else "",
        "bits per token, early and late": " and ".join(
            filter(None, (_number(report.early_bits, 2), _number(report.late_bits, 2)))
        ),
        "decoding against one pass": "" if report.decode_difference is None else f"{report.decode_difference:.1e}",
        "routing entropy, in bits": _number(report.routing_entropy, 3),
        "parameters": f"{report.total_parameters:,}" + (f", {active:,} for each token" if active else ""),
        "routing": report.routing if report.tokens else "",
        "speed": f"{report.tokens_per_second:,.0f} tokens a second" if report.tokens else "",
        "time": f"{report.seconds:.1f} s",
        "memory, at most": "" if report.peak_memory is None else f"{report.peak_memory / 1e6:,.0f} MB",
    }
    return {name: value for name, value in known.items() if value}


def _draw_facts(facts: Mapping[str, str]) -> Iterator[str]:
    cells = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts.items())
    yield f'<h2>Numbers</h2><dl class="facts">{cells}</dl>'


def _draw_levels(levels: Sequence[LevelResult]) -> Iterator[str]:
    yield "<h2>Levels</h2><table>"
    for level in levels:
        mark = {Outcome.GOOD: "good", Outcome.BAD: "bad", Outcome.UNKNOWN: "skipped"}[level.outcome]
        found = [finding.describe() for finding in level.findings]
        findings = _list(found[:MAX_FINDINGS_SHOWN])
        if len(found) > MAX_FINDINGS_SHOWN:
            findings += f"<p>and {len(found) - MAX_FINDINGS_SHOWN:,} more</p>"
        word = f'<td><span class="mark {mark}">{mark}</span></td>'
        yield f"<tr><th>{escaped(level.name)}</th>{word}<td>{escaped(level.remark)}{findings}</td></tr>"
    yield "</table>"


def _draw_agreement(agreement: Agreement | None) -> Iterator[str]:
    if agreement is None:
        return
    found, allowed = agreement.comparison, agreement.comparison.allowance
    rows = {
        "tokens": (f"{agreement.tokens:,}", f"kept there as {agreement.kind}" if agreement.kind else ""),
        "likeliest piece is the same": (f"{found.agreement:.1%}", f"{allowed.agreement:.0%} is wanted"),
        "KL, in nats": (f"{found.divergence:.2g}", f"{allowed.divergence:g} is allowed"),
        "NMSE of the logits": (f"{found.nmse:.2g}", f"{allowed.nmse:g} is allowed"),
        "bits per byte here": (_number(agreement.bits_per_byte, 4), ""),
        "bits per byte there": (_number(agreement.other_bits_per_byte, 4), ""),
    }
    cells = "".join(
        f"<tr><th>{name}</th><td>{escaped(value or 'not told')}</td><td>{escaped(remark)}</td></tr>"
        for name, (value, remark) in rows.items()
    )
    yield f"<h2>Against {escaped(agreement.other)}</h2><table>{cells}</table>"


def _draw_diagnosis(diagnosis: Diagnosis | None) -> Iterator[str]:
    if diagnosis is None:
        return
    yield f"<h2>Diagnosis</h2><p>{len(diagnosis.tried)} known cures were tried on these weights.</p>"
    if diagnosis.cure is not None:
        yield _describe_cure(diagnosis.cure, "restores it")
        return
    if diagnosis.nearest is not None:
        yield _describe_cure(diagnosis.nearest, "helps most, and does not restore it: more than one thing is wrong")
    some = ", ".join(diagnosis.tried[:MAX_TRIED_SHOWN])
    yield f"<p>None of them restores it: {escaped(some)}{', …' if len(diagnosis.tried) > MAX_TRIED_SHOWN else ''}.</p>"


def _describe_cure(cure: Cure, word: str) -> str:
    score = f"{_number(cure.before, 3) or 'no'} bits per byte without, {_number(cure.bits_per_byte, 3)} with"
    return f"<p><strong>{escaped(cure.name)}</strong> {word} ({score}). What to do: {escaped(cure.advice)}.</p>"


def _draw_provenance(report: BootReport, name: str) -> Iterator[str]:
    facts = {
        "checkpoint": name,
        "files": ", ".join(report.files),
        "kept as": report.kind,
        "layout": report.layout,
        "digest of all tensors": report.weights,
        "program": f"Magnetar {__version__}",
    }
    rows = "".join(f"<tr><th>{key}</th><td>{escaped(value)}</td></tr>" for key, value in facts.items() if value)
    yield f"<h2>Where this comes from</h2><table>{rows}</table>"
    if report.assumptions:
        yield "<h3>Assumptions</h3>" + _list(report.assumptions)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
