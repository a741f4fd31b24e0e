"""How weights ran: the verdict and its reasons, other routings, a text, a fingerprint."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from magnetar.findings import Outcome
from magnetar.render.text import (
    BAD,
    GOOD,
    INDENT,
    MAX_ROWS,
    UNSURE,
    Hanging,
    clean,
    clock,
    count,
    foreign,
    new_table,
    note,
    pace,
    verdict,
)

if TYPE_CHECKING:
    from magnetar.model.boot.boot_report import BootReport, RoutedText
    from magnetar.model.boot.compare_routings import RoutingScore
    from magnetar.model.compare.comparison import Agreement
    from magnetar.pipeline.boot import Continuation, WrittenFingerprint

EXPERT_COLOURS = ("red", "green", "yellow", "blue", "magenta", "cyan", "bright_red", "bright_green")
BLOCKS = " ▁▂▃▄▅▆▇█"


def draw_boot(report: "BootReport") -> RenderableType:
    """The verdict with its reasons: the levels, the score, the load of the experts, and a text by the model."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _boot_facts(report):
        facts.add_row(Text(name, style="dim"), foreign(value))
    parts: list[RenderableType] = [_draw_levels(report), Text(""), facts]
    if any(report.expert_load):
        parts += [Text("\nexperts' load, layer by layer", style="dim"), draw_expert_load(report.expert_load)]
    if report.agreement is not None:
        parts += [Text(""), draw_agreement(report.agreement)]
    if report.routed_text is not None:
        parts += [Text("\nthe first expert of each token in the last layer, a colour for each expert", style="dim")]
        parts += [Padding(_colour_by_expert(report.routed_text), (0, 2))]
    if report.sample:
        lines = (foreign(line, style="italic") for line in report.sample.strip().split("\n"))
        parts += [Text("\nit says", style="dim"), Padding(Group(*lines), (0, len(INDENT)))]
    parts += [Text(""), *(note(text) for text in report.assumptions)]
    if report.healthy:
        return Group(*parts, verdict("healthy", GOOD, _score(report)))
    return Group(*parts, *(verdict("not healthy", BAD, reason) for reason in report.reasons), *_draw_diagnosis(report))


def _draw_levels(report: "BootReport") -> Table:
    table = new_table("level", "verdict", "")
    words = {
        Outcome.GOOD: ("good", "green"),
        Outcome.BAD: ("bad", "red"),
        Outcome.FAILED: ("failed", "red"),
        Outcome.UNKNOWN: ("skipped", "yellow"),
    }
    for level in report.levels:
        table.add_row(foreign(level.name), Text(*words[level.outcome]), foreign(level.remark))
        for finding in level.findings[:MAX_ROWS]:
            table.add_row("", Text(finding.kind, style="red"), foreign(finding.describe()))
    return table


def _draw_diagnosis(report: "BootReport") -> Iterable[RenderableType]:
    if report.diagnosis is None:
        return
    cure = report.diagnosis.cure
    if cure is None:
        nearest = report.diagnosis.nearest
        if nearest is not None:
            score = f"{nearest.bits_per_byte:.3f} bits per byte"
            yield verdict("diagnosis", UNSURE, f"{nearest.name}: with that undone, {score}; it does not restore it")
        yield note(f"none of the {len(report.diagnosis.tried)} known cures restores it")
    else:
        yield verdict("diagnosis", UNSURE, f"{cure.name}: with that undone, {cure.bits_per_byte:.3f} bits per byte")
        yield note(cure.advice)


def _colour_by_expert(routed_text: "RoutedText") -> Text:
    """The head of the text, each token in the colour of the first expert that answered it in the last layer."""
    text = Hanging()
    for piece, chosen in zip(routed_text.pieces, routed_text.chosen[-1], strict=False):
        words = " " if piece == "<0x0A>" else clean(piece)  # a token that is a line break
        text.append(words, style=EXPERT_COLOURS[chosen[0] % len(EXPERT_COLOURS)])
    return text


def draw_routings(scores: "Sequence[RoutingScore]") -> RenderableType:
    """The score of the same weights under each routing."""
    table = new_table("routing", ">bits per byte", ">expert FLOPs", ">tokens/s")
    for score in scores:
        bits = "not finite" if score.bits_per_byte is None else f"{score.bits_per_byte:.3f}"
        name = f"{score.strategy} (as trained)" if score.trained else score.strategy
        table.add_row(name, bits, f"{score.expert_flops:.1f} x", f"{score.tokens_per_second:,.0f}")
    return table


def draw_written_on(written: "Continuation") -> RenderableType:
    """The length and the speed of a text. The text itself was shown while it was written."""
    return Group(Text(""), note(f"{written.tokens} tokens, {pace(written.tokens, written.seconds, 'tokens')}"))


def draw_golden(written: "WrittenFingerprint") -> RenderableType:
    """The file with the fingerprint, and its size."""
    return verdict("written", GOOD, f"{written.path}: {decimal(written.size)}")


def _boot_facts(report: "BootReport") -> Iterable[tuple[str, str]]:
    active = f", {count(report.active_parameters)} active for a token" if report.active_parameters else ""
    yield "parameters", count(report.total_parameters) + active
    if not report.tokens:
        return
    expected = "no expectation is known" if report.expected is None else f"expected {report.expected:.3f}"
    yield "score", f"{_score(report)} on {report.tokens:,} tokens; {expected}"
    if report.decode_difference is not None:
        yield "decode against prefill", f"logits differ by {report.decode_difference:.1e}"
    if report.early_bits is not None and report.late_bits is not None:
        yield "early and late", f"{report.early_bits:.2f} and {report.late_bits:.2f} bits per token"
    if report.golden is not None:
        kept = f"{report.golden.agreement:.1%} of the likeliest pieces agree"
        yield "against the fingerprint", f"KL {report.golden.divergence:.1e}, NMSE {report.golden.nmse:.1e}, {kept}"
    if report.routing_entropy is not None:
        yield "routing entropy", f"{report.routing_entropy:.2f} bits, mean of layers"
    memory = f", {decimal(report.peak_memory)} of memory at most" if report.peak_memory else ""
    yield "speed", f"{report.tokens_per_second:,.0f} tokens/s, {clock(report.seconds)} in all{memory}"


def _score(report: "BootReport") -> str:
    if not report.tokens:
        return "at the levels that were asked for; the model was not run"
    return "no finite score" if report.bits_per_byte is None else f"{report.bits_per_byte:.3f} bits per byte"


def draw_expert_load(load: Sequence[Sequence[float]]) -> RenderableType:
    """A row for each layer with a bar for each expert. A full bar is twice the share of an even load."""
    grid = Table.grid(padding=(0, 1))
    for layer, shares in enumerate(load):
        even = 1 / max(len(shares), 1)
        bars = "".join(BLOCKS[min(round(share / even * 4), 8)] * 2 + " " for share in shares)
        low, high = min(shares, default=0.0), max(shares, default=0.0)
        grid.add_row(Text(f"  {layer}", style="dim"), Text(bars, style="magenta"), f"{low:.0%} to {high:.0%}")
    return grid


def draw_agreement(agreement: "Agreement") -> Table:
    """How far the answers of these weights are from those of the other, on the same tokens."""
    table = new_table(f"against {clean(agreement.other)}", ">", "")
    for name, value, remark in list_agreement(agreement):
        table.add_row(name, value, foreign(remark, style="dim"))
    return table


def list_agreement(agreement: "Agreement") -> list[tuple[str, str, str]]:
    """The rows of the table: what is compared, the number, and what is allowed."""
    found, allowed = agreement.comparison, agreement.comparison.allowance
    first, tokens = agreement.first_difference, agreement.tokens
    where = "" if first is None else f"; the first difference is at {first}"
    excess = "" if agreement.excess is None else f"{agreement.excess:+.4f} here"
    scores = (agreement.bits_per_byte, agreement.other_bits_per_byte)
    ours, theirs = ("unknown" if score is None else f"{score:.4f}" for score in scores)
    rows = [
        ("tokens", f"{tokens:,}", f"the other's weights are {agreement.kind or 'of an unknown dtype'}"),
        ("likeliest piece", f"{found.agreement:.1%}", f"at least {allowed.agreement:.0%} is expected{where}"),
        ("KL, in nats", f"{found.divergence:.2g}", f"{allowed.divergence:g} is allowed"),
        ("NMSE of the logits", f"{found.nmse:.2g}", f"{allowed.nmse:g} is allowed"),
        ("bits per byte", ours, f"{theirs} there" + (f"; {excess}" if excess else "")),
    ]
    if found.layer_errors:
        stray = "none" if found.first_diverging is None else str(found.first_diverging)
        rows.append(("first layer that strays", stray, ""))
    return rows
