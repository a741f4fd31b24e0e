"""A report as one page of HTML: no scripts, nothing fetched, light and dark. Everything foreign in it is escaped."""

from collections.abc import Iterator, Sequence
from html import escape

from magnetar.model.levels import LevelResult, Verdict
from magnetar.model.report import BootReport, Conducted, Diagnosis

WIDTH, HEIGHT = 640, 160
HUES = (210, 30, 120, 0, 270, 60, 180, 320)
"""One hue for each expert, repeated where there are more."""


def draw_page(report: BootReport, name: str) -> str:
    """The page for the checkpoint called ``name``: the verdict first, then what it rests on."""
    verdict = ("good", "It works.") if report.healthy else ("bad", "It does not work.")
    parts = [
        f"<h1>{_show(name)}</h1>",
        f'<p class="{verdict[0]}">{verdict[1]}</p>',
        *(f"<p>{_show(reason)}</p>" for reason in report.reasons),
        *_draw_diagnosis(report.diagnosis),
        *_draw_facts(report),
        *_draw_levels(report.levels),
        *_draw_curve("Residual stream after each layer (rms)", report.residual_rms),
        *_draw_curve("Error against the release, by layer", report.golden.layer_errors if report.golden else ()),
        *_draw_load(report.expert_load),
        *_draw_text(report.conducted),
        *(["<h2>Sample</h2>", f"<pre>{_show(report.sample)}</pre>"] if report.sample else []),
        "<h2>Taken as given</h2>",
        _list(report.assumptions),
    ]
    head = f"<head>{HEAD}<title>{_show(name)}</title></head>"
    return "\n".join(['<!doctype html>\n<html lang="en">', head, "<body>", *parts, "</body></html>\n"])


def _draw_facts(report: BootReport) -> Iterator[str]:
    facts = {
        "bits per byte": _number(report.bits_per_byte, 4),
        "expected": _number(report.expected, 4),
        "tokens": f"{report.tokens:,}",
        "bits per token, early and late": f"{_number(report.early_bits, 2)} and {_number(report.late_bits, 2)}",
        "routing entropy": _number(report.routing_entropy, 3),
        "parameters": _say_parameters(report),
        "layout": report.layout,
        "routing": report.routing,
        "peak memory": "unknown" if report.peak_memory is None else f"{report.peak_memory / 1e6:,.0f} MB",
        "seconds": f"{report.seconds:.1f}",
    }
    rows = "".join(f"<tr><th>{_show(name)}</th><td>{_show(value)}</td></tr>" for name, value in facts.items())
    yield f"<table>{rows}</table>"


def _say_parameters(report: BootReport) -> str:
    active = report.active_parameters
    return f"{report.total_parameters:,}" + ("" if active is None else f", {active:,} for each token")


def _draw_levels(levels: Sequence[LevelResult]) -> Iterator[str]:
    yield "<h2>Levels</h2><table>"
    for level in levels:
        mark = {Verdict.GOOD: "good", Verdict.BAD: "bad", Verdict.SKIPPED: "skipped"}[level.verdict]
        findings = _list([str(finding) for finding in level.findings]) if level.findings else ""
        cells = f'<th>{_show(level.name)}</th><td class="{mark}">{mark}</td><td>{_show(level.remark)}{findings}</td>'
        yield f"<tr>{cells}</tr>"
    yield "</table>"


def _draw_diagnosis(diagnosis: Diagnosis | None) -> Iterator[str]:
    if diagnosis is None:
        return
    yield "<h2>Diagnosis</h2>"
    if diagnosis.cure is None:
        yield f"<p>None of {len(diagnosis.tried)} known cures helps.</p>"
        return
    cure = diagnosis.cure
    score = f"{_number(cure.before, 3)} bits per byte without, {_number(cure.bits_per_byte, 3)} with"
    yield f"<p><strong>{_show(cure.name)}</strong> ({score}): {_show(cure.advice)}</p>"


def _draw_curve(title: str, values: Sequence[float]) -> Iterator[str]:
    """A curve from the first layer to the last, from 0 to the largest value."""
    if not values or max(values) <= 0:
        return
    step, top = WIDTH / max(1, len(values) - 1), max(values)
    places = " ".join(f"{i * step:.1f},{HEIGHT - 4 - (HEIGHT - 8) * v / top:.1f}" for i, v in enumerate(values))
    yield f"<h2>{_show(title)}</h2>"
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><polyline points="{places}"/></svg>'
    yield f"<p>{len(values)} layers, the largest {top:.3g}, the last {values[-1]:.3g}</p>"


def _draw_load(load: Sequence[Sequence[float]]) -> Iterator[str]:
    """The heat map: a row for each layer, a cell for each expert."""
    if not load:
        return
    yield '<h2>Who answers, by layer</h2><table class="heat">'
    yield "<tr><th></th>" + "".join(f"<th>{expert}</th>" for expert in range(len(load[0]))) + "</tr>"
    for layer, shares in enumerate(load):
        cells = (
            f'<td style="--share:{min(100, 50 * share * len(shares)):.0f}%">{100 * share:.0f}</td>' for share in shares
        )
        yield f"<tr><th>{layer}</th>{''.join(cells)}</tr>"
    yield "</table><p>Share of the answers, in per cent.</p>"


def _draw_text(conducted: Conducted | None) -> Iterator[str]:
    """The head of the text, each piece in the colour of the expert that weighed most in the last layer."""
    if conducted is None:
        return
    yield '<h2>The text by expert, in the last layer</h2><p class="text">'
    for piece, chosen in zip(conducted.pieces, conducted.chosen[-1], strict=False):
        title = f"experts {', '.join(map(str, chosen))}"
        yield f'<span style="--hue:{HUES[chosen[0] % len(HUES)]}" title="{title}">{_show(piece)}</span>'
    yield "</p>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_show(line)}</li>" for line in lines) + "</ul>"


def _show(text: str) -> str:
    """Foreign text: markup escaped, control characters (and those that turn the direction) as their numbers."""
    kept = (c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
    return escape("".join(kept))


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; --ink: light-dark(#1a1a1a, #e8e8e8); --page: light-dark(#fff, #161616); }
body { color: var(--ink); background: var(--page); font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .2rem .6rem .2rem 0;
  vertical-align: top; border-bottom: 1px solid #8884; }
.good { color: light-dark(#116329, #56d364); } .bad { color: light-dark(#a40e26, #ff7b72); } .skipped { opacity: .7; }
svg { width: 100%; border: 1px solid #8884; } polyline { fill: none; stroke: light-dark(#0550ae, #79c0ff);
  stroke-width: 2; } pre { white-space: pre-wrap; }
.heat td { background: color-mix(in srgb, light-dark(#54aeff, #1158c7) var(--share), transparent); text-align: center; }
.text span { background: light-dark(hsl(var(--hue) 80% 86%), hsl(var(--hue) 50% 26%)); white-space: pre-wrap; }
</style>"""
