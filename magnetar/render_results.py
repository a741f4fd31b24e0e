"""Results as a person reads them. Foreign text goes through ``clean`` and ``Text``, so that it is only ever text."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from magnetar.errors import ExitCode
from magnetar.render_text import clean, clock, count, pace

if TYPE_CHECKING:
    from magnetar.convert.plan import Plan
    from magnetar.convert.run import Converted
    from magnetar.fetch.download import Fetched
    from magnetar.fetch.plan import FetchPlan
    from magnetar.fetch.seed import Seeding, Served
    from magnetar.manifests.create import Strength
    from magnetar.manifests.report import Report
    from magnetar.manifests.schema import Manifest
    from magnetar.model.report import BootReport
    from magnetar.pipeline import Got, Step
    from magnetar.pipeline_demo import Demonstrated
    from magnetar.pipeline_inspect import SeenTorrent, SeenWeights
    from magnetar.pipeline_manifest import WrittenManifest

GOOD, BAD, UNSURE = "bold green", "bold red", "bold yellow"
BLOCKS = " ▁▂▃▄▅▆▇█"


def draw_fetched(fetched: "Fetched") -> RenderableType:
    """Where the release is now, what came and went, and how to go on seeding."""
    files, size = len(fetched.metadata.files), decimal(fetched.metadata.total_size)
    lines = [_verdict("fetched", GOOD, f"{fetched.folder}: {files} files, {size}, every piece checked")]
    if fetched.downloaded:
        ratio = fetched.uploaded / fetched.downloaded
        speed = pace(fetched.downloaded, fetched.seconds, "B")
        came = f"{decimal(fetched.downloaded)} in {clock(fetched.seconds)}, {speed}"
        lines.append(_note(f"{came}; sent {decimal(fetched.uploaded)} (ratio {ratio:.2f})"))
    else:
        lines.append(_note("nothing had to be downloaded"))
    lines.append(_note(f"to go on seeding: magnetar seed {fetched.folder}"))
    return Group(*lines)


def draw_fetch_plan(plan: "FetchPlan") -> RenderableType:
    """What a fetch would bring, and what stands in its way."""
    table = _table("file", ">size", "")
    wanted = {file.path for file in plan.wanted}
    for file in plan.metadata.files:
        note = "" if file.path in wanted else Text("left out", style="yellow")
        table.add_row(Text(clean(file.path)), decimal(file.size), note)
    lines = [
        _note(f"into {plan.folder}: {decimal(plan.missing)} to come, {decimal(plan.free)} free"),
        _note(f"{plan.peers} peers, {plan.seeds} of them seeds. {plan.seen}"),
        *(_note(f"healed: {note}") for note in plan.healed),
    ]
    if plan.obstacles:
        return Group(table, *lines, *(_verdict("in the way", BAD, obstacle) for obstacle in plan.obstacles))
    return Group(table, *lines, _verdict("nothing is in the way", GOOD, "nothing was written"))


def draw_seeding(seeding: "Seeding") -> RenderableType:
    """The link, alone on its line so that it can be copied or piped."""
    return Text(clean(seeding.magnet), no_wrap=True, overflow="ignore")


def draw_served(served: Sequence["Served"]) -> RenderableType:
    """One row for each release that is being seeded."""
    table = _table("release", ">peers", ">sent", ">ratio", ">time")
    for one in served:
        size = max(one.metadata.total_size, 1)
        ratio, sent = f"{one.uploaded / size:.2f}", decimal(one.uploaded)
        table.add_row(Text(clean(one.metadata.name)), str(one.peers), sent, ratio, clock(one.seconds))
    return table


def draw_report(report: "Report") -> RenderableType:
    """Every file with its verdict, every finding, and what the whole is worth."""
    table = _table("file", ">size", "verdict", "checked by")
    styles = {"good": "green", "bad": "red", "not checked": "yellow"}
    for file in report.files:
        size = decimal(file.size) if file.size is not None else "unknown"
        verdict = Text(file.verdict.value, style=styles[file.verdict])
        table.add_row(Text(clean(file.path)), size, verdict, ", ".join(file.checked_by))
    findings = [Text.assemble(("  " + f.kind, "red"), f": {clean(f.path)}: {clean(f.detail)}") for f in report.findings]
    unexpected = [_note(f"not part of the release: {path}") for path in report.unexpected]
    return Group(table, *findings, *unexpected, _conclude(report))


def _conclude(report: "Report") -> Text:
    against = f"held against {report.release}: {report.reason}"
    match report.exit_code:
        case ExitCode.GOOD:
            return _verdict(f"good: {report.trust}", UNSURE if report.trust == "weak" else GOOD, against)
        case ExitCode.NOT_ALL_CHECKED:
            return _verdict("not all could be checked; nothing wrong was found", UNSURE, against)
        case _:
            return _verdict("not the release", BAD, against)


def draw_converted(converted: "Converted") -> RenderableType:
    """What was written, and how it was proven."""
    table = _table("file", ">size", "sha256")
    for file in converted.files:
        table.add_row(Text(clean(file.path)), decimal(file.size), file.sha256)
    if converted.already:
        words = "had been converted before; every file is still whole"
    else:
        speed = pace(converted.bytes, converted.seconds, "B")
        words = f"{converted.tensors} tensors, {decimal(converted.bytes)} in {clock(converted.seconds)}, {speed}"
        words += "; read back and compared with the source bit for bit" if converted.verified else "; not compared"
    notes = [_note(note) for note in (f"layout {converted.layout}: {converted.reason}", *converted.notes)]
    return Group(table, *notes, _verdict("converted", GOOD, f"{converted.destination}: {words}"))


def draw_plan(plan: "Plan") -> RenderableType:
    """What a conversion would write, a line for each file and tensor."""
    lines = [Text(clean(line), no_wrap=True, overflow="ignore") for line in plan.lines()]
    needs = f"{decimal(plan.nbytes)} of disk, about {decimal(plan.peak_memory)} of memory"
    turned = f"{plan.tensors - plan.turned} tensors are copied, {plan.turned} change the order of their rows"
    return Group(*lines, _note(turned), _note(needs))


def draw_boot(report: "BootReport") -> RenderableType:
    """The verdict with its reasons, the score, the experts' load, and what the model says."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _boot_facts(report):
        facts.add_row(Text(name, style="dim"), Text(clean(value)))
    parts: list[RenderableType] = [facts]
    if any(report.expert_load):
        parts += [Text("\nexperts' load, layer by layer", style="dim"), draw_expert_load(report.expert_load)]
    if report.sample:
        parts += [Text("\nit says", style="dim"), Padding(Text(clean(report.sample.strip()), style="italic"), (0, 2))]
    parts += [Text(""), *(_note(note) for note in report.assumptions)]
    if report.healthy:
        return Group(*parts, _verdict("healthy", GOOD, _score(report)))
    return Group(*parts, *(_verdict("not healthy", BAD, reason) for reason in report.reasons))


def _boot_facts(report: "BootReport") -> Iterable[tuple[str, str]]:
    yield "parameters", f"{count(report.total_parameters)}, {count(report.active_parameters)} active for a token"
    expected = "no expectation is known" if report.expected is None else f"expected {report.expected:.3f}"
    yield "score", f"{_score(report)} on {report.tokens:,} tokens of held-out text; {expected}"
    if report.decode_difference is not None:
        yield "decode against prefill", f"logits differ by {report.decode_difference:.1e}"
    if report.routing_entropy is not None:
        yield "routing entropy", f"{report.routing_entropy:.2f} bits, mean of layers"
    yield "speed", f"{report.tokens_per_second:,.0f} tokens/s, {clock(report.seconds)} in all"


def _score(report: "BootReport") -> str:
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


def draw_got(got: "Got") -> RenderableType:
    """The steps as a table, with what went wrong in full."""
    return Group(_draw_path(got), _conclude_path(got, str(got.result)))


def _draw_path(got: "Got") -> RenderableType:
    parts: list[RenderableType] = [] if got.boot is None else [draw_boot(got.boot), Text("")]
    if got.report is not None and got.report.exit_code:
        parts += [draw_report(got.report), Text("")]
    return Group(*parts, draw_steps(got.steps), *(_note(f"not done: {name}") for name in got.not_done))


def _conclude_path(got: "Got", where: str) -> Text:
    style, word = {ExitCode.GOOD: (GOOD, "done, and good"), ExitCode.NOT_ALL_CHECKED: (UNSURE, "not all checked")}.get(
        got.exit_code, (BAD, "not good")
    )
    return _verdict(word, style, where)


def draw_steps(steps: Sequence["Step"]) -> Table:
    """One row a step: name, verdict, time."""
    table = _table("step", "verdict", ">time")
    for step in steps:
        table.add_row(Text(step.name, style="bold"), Text(clean(step.verdict)), clock(step.seconds))
    return table


def draw_demo(done: "Demonstrated") -> RenderableType:
    """The whole path, from the link to the verdict."""
    link = Text.assemble(("magnet link  ", "dim"), clean(done.magnet), no_wrap=True, overflow="ellipsis")
    where = f"left in {done.folder}" if done.kept else "the folders are gone again; --keep leaves them"
    return Group(link, Text(""), _draw_path(done.got), _conclude_path(done.got, where))


def draw_inspection(seen: "SeenTorrent | SeenWeights") -> RenderableType:
    """What a link, a torrent or a checkpoint holds."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _torrent_facts(seen) if seen.kind != "weights" else _weights_facts(seen):
        facts.add_row(Text(name, style="dim"), Text(clean(value), overflow="fold"))
    if seen.kind != "weights":
        return Group(facts, *_draw_files(seen))
    if seen.tensors is None:
        return Group(facts, _note("--tensors lists them"))
    table = _table("tensor", "dtype", "shape", ">size")
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
        yield _note("the files are listed in the metadata, which only the swarm has: magnetar fetch brings it")
        return
    table = _table("file", ">size")
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


def draw_catalog(releases: Sequence["Manifest"]) -> RenderableType:
    """One row a release."""
    table = _table("name", "publisher", "published", ">parameters", ">active", "licence")
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
    return Group(table, _note("magnetar catalog show NAME tells the rest"))


def draw_manifest(release: "Manifest") -> RenderableType:
    """Everything that is known of one release, and what is not."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _manifest_facts(release):
        facts.add_row(Text(name, style="dim"), Text(clean(value), overflow="fold"))
    parts: list[RenderableType] = [Text(clean(release.title), style="bold"), facts]
    if release.files is not None:
        table = _table("file", ">size", "digests")
        for file in release.files:
            digests = "\n".join(str(digest) for digest in file.digests) or "none known"
            table.add_row(Text(file.path), decimal(file.size) if file.size is not None else "unknown", digests)
        parts.append(table)
    for heading, lines in (("not known", release.unknown), ("sources", release.sources)):
        parts += [Text(heading, style="bold"), *(_note(f"- {line}") for line in lines)] if lines else []
    return Group(*parts)


def draw_written(written: "WrittenManifest") -> RenderableType:
    """The text of a manifest, or where it went."""
    if written.path is None:
        return draw_text(written.text)
    files = len(written.manifest.files or ())
    return _verdict("written", GOOD, f"{written.path}: {written.manifest.name}, {files} files")


def draw_text(text: str) -> RenderableType:
    """A document, as it is: for a file, or the next program."""
    return Text(text.rstrip("\n"), no_wrap=True, overflow="ignore")


def draw_strength(strength: "Strength") -> RenderableType:
    """What a well-formed manifest can prove."""
    if strength.files is None:
        return _verdict("well-formed", UNSURE, f"{strength.name}: its files are not known, so it proves nothing")
    counts = f"{strength.strong} of {strength.files} files have a strong digest"
    counts += f", {strength.weak} only a weak one" if strength.weak else ""
    counts += f", {strength.bare} none" if strength.bare else ""
    style = GOOD if strength.strong == strength.files else UNSURE
    return _verdict("well-formed", style, f"{strength.name}: {counts}")


def _manifest_facts(release: "Manifest") -> Iterable[tuple[str, str]]:
    facts = release.architecture
    yield "name", release.name
    yield "publisher", f"{release.publisher}, {release.published or 'date unknown'}"
    yield "licence", release.licence
    if release.summary:
        yield "summary", release.summary
    yield "parameters", f"{count(facts.total_parameters)} in all, {count(facts.active_parameters)} active for a token"
    yield "layout", release.layout or "unknown"
    yield "infohash", ", ".join(filter(None, (release.infohash_v1, release.infohash_v2))) or "unknown"
    yield "magnet", release.magnet or "unknown"
    for mirror in release.mirrors:
        yield "mirror", f"{mirror.url} {' '.join(map(str, mirror.digests))}"
    if release.smoke:
        yield "smoke test", f"{release.smoke.bits_per_byte:.3f} bits per byte on {release.smoke.text}"


def _table(*headings: str) -> Table:
    """A plain table; a heading that begins with ``>`` stands over numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def _verdict(word: str, style: str, rest: str) -> Text:
    return Text.assemble((word, style), "  ", clean(rest))


def _note(text: str) -> Text:
    return Text("  " + clean(text), style="dim")
