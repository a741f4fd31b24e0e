"""What was seen in weights: conversions, proofs, comparisons, and how they ran."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from magnetar.errors import ExitCode
from magnetar.render_against import draw_agreement
from magnetar.render_shapes import BAD, GOOD, UNSURE, new_table, note, verdict
from magnetar.render_text import clean, clock, count, pace

if TYPE_CHECKING:
    from magnetar.convert.run import Converted, Forecast
    from magnetar.convert.sameness import Sameness
    from magnetar.model.conductor import RoutingScore
    from magnetar.model.report import BootReport, Conducted
    from magnetar.pipeline_boot import WrittenGolden, WrittenOn
    from magnetar.pipeline_inspect import SeenTorrent, SeenWeights
    from magnetar.pipeline_prove import Proven

MOST_ROWS = 40
EXPERT_COLOURS = ("red", "green", "yellow", "blue", "magenta", "cyan", "bright_red", "bright_green")
BLOCKS = " ▁▂▃▄▅▆▇█"


def draw_converted(converted: "Converted") -> RenderableType:
    """What was written, and how it was proven."""
    table = new_table("file", ">size", "sha256")
    for file in converted.files:
        table.add_row(Text(clean(file.path)), decimal(file.size), file.sha256)
    if converted.already:
        words = "had been converted before; every file is still whole"
    else:
        speed = pace(converted.bytes, converted.seconds, "B")
        words = f"{converted.tensors} tensors, {decimal(converted.bytes)} in {clock(converted.seconds)}, {speed}"
        compared = f"; read back in {clock(converted.comparing)} of it and compared with the source bit for bit"
        words += compared if converted.verified else "; not compared"
    notes = [note(text) for text in (f"layout {converted.layout}: {converted.reason}", *converted.notes)]
    return Group(table, *notes, verdict("converted", GOOD, f"{converted.destination}: {words}"))


def draw_forecast(forecast: "Forecast") -> RenderableType:
    """What a conversion would write, a line for each file and tensor, and what it would take."""
    lines = [Text(clean(line), no_wrap=True, overflow="ignore") for line in forecast.steps]
    turned = (
        f"{forecast.tensors - forecast.turned} tensors are copied, {forecast.turned} change the order of their rows"
    )
    needs = f"{decimal(forecast.missing)} of disk, where {decimal(forecast.free)} are free, and about "
    needs += f"{decimal(forecast.memory)} of memory"
    fits = verdict("fits", GOOD, needs) if forecast.missing <= forecast.free else verdict("does not fit", BAD, needs)
    return Group(*lines, note(f"layout {forecast.layout}: {forecast.reason}"), note(turned), fits)


def draw_proof(proven: "Proven") -> RenderableType:
    """What of a converted copy is the publisher's, and what is not."""
    proof = proven.proof
    odd = [tensor for tensor in proof.tensors if tensor.standing != "same"]
    table = new_table("tensor", "verdict", "")
    for tensor in odd[:MOST_ROWS]:
        error = f"NMSE {tensor.error:.1e}" if tensor.error is not None else ""
        exact = "just what quantising the release gives" if tensor.reproduced else ""
        words = "; ".join(filter(None, (tensor.detail, error, exact)))
        style = "yellow" if tensor.standing == "not comparable" else "red"
        table.add_row(Text(clean(tensor.name)), Text(tensor.standing.value, style=style), Text(clean(words)))
    parts: list[RenderableType] = [table] if odd else []
    parts += [note(f"and {len(odd) - MOST_ROWS} more")] if len(odd) > MOST_ROWS else []
    against = f"{proof.path}, {proof.layout}: held against the tensors of {proven.release}"
    same = f"{len(proof.tensors) - len(odd)} of {len(proof.tensors)} tensors are the publisher's bit for bit"
    match proof.exit_code:
        case ExitCode.GOOD:
            return Group(*parts, note(same), verdict(f"good: {proven.trust}", GOOD, against))
        case ExitCode.NOT_ALL_CHECKED:
            return Group(*parts, note(same), verdict("not all could be compared", UNSURE, against))
        case _:
            return Group(*parts, note(same), verdict("not the same weights", BAD, against))


def draw_sameness(found: "Sameness") -> RenderableType:
    """Which tensors of two checkpoints differ, and how."""
    table = new_table("tensor", "how", "")
    for difference in found.differences[:MOST_ROWS]:
        error = f"NMSE {difference.error:.1e}" if difference.error is not None else ""
        words = "; ".join(filter(None, (difference.detail, error)))
        table.add_row(Text(clean(difference.name)), Text(difference.how.value), Text(clean(words)))
    parts: list[RenderableType] = [table] if found.differences else []
    more = len(found.differences) - MOST_ROWS
    parts += [note(f"and {more} more")] if more > 0 else []
    for order in found.experts:
        follows = "the router follows" if order.router_follows else "the router does not"
        parts.append(note(f"layer {order.layer}: experts {list(order.order)}; {follows}"))
    words = f"{found.identical} of {found.tensors} tensors are the same bit for bit, seen as {found.layout}"
    style, word = {
        ExitCode.GOOD: (GOOD, "the same weights"),
        ExitCode.NOT_ALL_CHECKED: (UNSURE, "rounded or quantised"),
    }.get(found.exit_code, (BAD, "not the same weights"))
    return Group(*parts, verdict(word, style, words))


def draw_boot(report: "BootReport") -> RenderableType:
    """The verdict with its reasons, level by level, the score, the experts' load, and what the model says."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _boot_facts(report):
        facts.add_row(Text(name, style="dim"), Text(clean(value)))
    parts: list[RenderableType] = [_draw_levels(report), Text(""), facts]
    if any(report.expert_load):
        parts += [Text("\nexperts' load, layer by layer", style="dim"), draw_expert_load(report.expert_load)]
    if report.agreement is not None:
        parts += [Text(""), draw_agreement(report.agreement)]
    if report.conducted is not None:
        parts += [Text("\nwho answers, in the last layer: a colour for each expert", style="dim")]
        parts += [Padding(_colour_by_expert(report.conducted), (0, 2))]
    if report.sample:
        parts += [Text("\nit says", style="dim"), Padding(Text(clean(report.sample.strip()), style="italic"), (0, 2))]
    parts += [Text(""), *(note(text) for text in report.assumptions)]
    if report.healthy:
        return Group(*parts, verdict("healthy", GOOD, _score(report)))
    return Group(*parts, *(verdict("not healthy", BAD, reason) for reason in report.reasons), *_draw_diagnosis(report))


def _draw_levels(report: "BootReport") -> Table:
    table = new_table("level", "verdict", "")
    styles = {"good": "green", "bad": "red", "skipped": "yellow"}
    for level in report.levels:
        table.add_row(level.name, Text(level.verdict.value, style=styles[level.verdict]), Text(clean(level.remark)))
        for finding in level.findings[:MOST_ROWS]:
            table.add_row("", Text(finding.kind, style="red"), Text(clean(str(finding))))
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


def _colour_by_expert(conducted: "Conducted") -> Text:
    """The head of the text, each piece in the colour of the expert that was asked first in the last layer."""
    text = Text()
    for piece, chosen in zip(conducted.pieces, conducted.chosen[-1], strict=False):
        words = " " if piece == "<0x0A>" else clean(piece)  # the pieces are those of the vocabulary; lines fold here
        text.append(words, style=EXPERT_COLOURS[chosen[0] % len(EXPERT_COLOURS)])
    return text


def draw_routings(scores: "Sequence[RoutingScore]") -> RenderableType:
    """The same weights under each way of choosing who answers."""
    table = new_table("routing", ">bits per byte", ">expert FLOPs", ">tokens/s")
    for score in scores:
        bits = "not finite" if score.bits_per_byte is None else f"{score.bits_per_byte:.3f}"
        name = f"{score.strategy} (as trained)" if score.trained else score.strategy
        table.add_row(name, bits, f"{score.expert_flops:.1f} x", f"{score.tokens_per_second:,.0f}")
    return table


def draw_written_on(written: "WrittenOn") -> RenderableType:
    """What is to be said of a text that was shown as it was written."""
    return Group(Text(""), note(f"{written.tokens} tokens, {pace(written.tokens, written.seconds, 'tokens')}"))


def draw_golden(written: "WrittenGolden") -> RenderableType:
    """Where the fingerprint went."""
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
        return "as far as it was asked: the model was not run"
    return "no finite score" if report.bits_per_byte is None else f"{report.bits_per_byte:.3f} bits per byte"


def draw_expert_load(load: Sequence[Sequence[float]]) -> RenderableType:
    """A picture: a row for each layer, a bar for each expert; a full bar is twice an even share."""
    grid = Table.grid(padding=(0, 1))
    for layer, shares in enumerate(load):
        even = 1 / max(len(shares), 1)
        bars = "".join(BLOCKS[min(round(share / even * 4), 8)] * 2 + " " for share in shares)
        low, high = min(shares, default=0.0), max(shares, default=0.0)
        grid.add_row(Text(f"  {layer}", style="dim"), Text(bars, style="magenta"), f"{low:.0%} to {high:.0%}")
    return grid


def draw_inspection(seen: "SeenTorrent | SeenWeights") -> RenderableType:
    """What a link, a torrent or a checkpoint holds."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _torrent_facts(seen) if seen.kind != "weights" else _weights_facts(seen):
        facts.add_row(Text(name, style="dim"), Text(clean(value), overflow="fold"))
    if seen.kind != "weights":
        return Group(facts, *_draw_files(seen))
    if seen.tensors is None:
        return Group(facts, note("--tensors lists them"))
    table = new_table("tensor", "dtype", "shape", ">size")
    for tensor in seen.tensors:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        table.add_row(Text(clean(tensor.name)), tensor.dtype, shape, decimal(tensor.bytes))
    return Group(facts, table)


def _torrent_facts(seen: "SeenTorrent") -> Iterable[tuple[str, str]]:
    yield "name", seen.name or "not in the link"
    yield "release", seen.release or "not in the catalog"
    for name, infohash in (("infohash v1", seen.infohash_v1), ("infohash v2", seen.infohash_v2)):
        if infohash:
            yield name, infohash
    for healed in seen.healed:
        yield "healed", healed
    for tracker in seen.trackers:
        yield "tracker", tracker
    if seen.private:
        yield "private", "peers come from its own trackers only"
    yield "clean link", seen.magnet


def _draw_files(seen: "SeenTorrent") -> Iterable[RenderableType]:
    if seen.files is None:
        yield note("the files are listed in the metadata, which only the swarm has: magnetar fetch brings it")
        return
    table = new_table("file", ">size")
    for file in seen.files:
        table.add_row(Text(clean(file.path)), decimal(file.size) if file.size is not None else "unknown")
    yield table


def _weights_facts(seen: "SeenWeights") -> Iterable[tuple[str, str]]:
    yield "path", seen.path
    yield "container", seen.container
    yield "layout", f"{seen.layout or 'unknown'}: {seen.reason}"
    yield "parameters", f"{seen.total_parameters:,} ({count(seen.total_parameters)})"
    if seen.active_parameters is not None:
        yield "active", f"{seen.active_parameters:,} ({count(seen.active_parameters)}) for a token"
    yield "tensors", f"{seen.tensor_count}, {decimal(seen.bytes)}, {', '.join(seen.dtypes)}"
