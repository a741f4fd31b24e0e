"""What a manifest says, and where it was written."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from magnetar.render.text import GOOD, UNSURE, Document, count, foreign, new_table, note, verdict

if TYPE_CHECKING:
    from magnetar.manifests.schema import Manifest
    from magnetar.manifests.writing.create_manifest import Strength
    from magnetar.pipeline.manifest import WrittenManifest, WrittenTensors


def draw_manifest(release: "Manifest") -> RenderableType:
    """Everything that is known of one release, and what is not."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _manifest_facts(release):
        facts.add_row(Text(name, style="dim"), foreign(value, overflow="fold"))
    parts: list[RenderableType] = [foreign(release.title, style="bold"), facts]
    if release.files is not None:
        table = new_table("file", ">size", "digests")
        for file in release.files:
            digests = "\n".join(str(digest) for digest in file.digests) or "none known"
            table.add_row(foreign(file.path), decimal(file.size) if file.size is not None else "unknown", digests)
        parts.append(table)
    for heading, lines in (("not known", release.unknown), ("sources", release.sources)):
        parts += [Text(heading, style="bold"), *(note(f"- {line}") for line in lines)] if lines else []
    return Group(*parts)


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
    if release.smoke and release.smoke.bits_per_byte:
        yield "smoke test", f"{release.smoke.bits_per_byte:.3f} bits per byte on {release.smoke.text}"


def draw_written(written: "WrittenManifest") -> RenderableType:
    """The text of a manifest, or the file that it was written to."""
    if written.path is None:
        return draw_text(written.text)
    files = len(written.manifest.files or ())
    return verdict("written", GOOD, f"{written.path}: {written.manifest.name}, {files} files")


def draw_tensor_digests(written: "WrittenTensors") -> RenderableType:
    """The lines that name the side file in the manifest, and the path of the file."""
    words = f"{written.path}: {written.tensors:,} tensors as they lie in {written.layout}"
    return Group(draw_text(written.lines), verdict("written", GOOD, words))


def draw_text(text: str) -> RenderableType:
    """A document without any markup, so that it can be piped into a file or a program, whatever the length of lines."""
    return Document(text.rstrip("\n"), no_wrap=True, overflow="ignore")


def draw_strength(strength: "Strength") -> RenderableType:
    """How many files the manifest can prove."""
    if strength.files is None:
        return verdict("well-formed", UNSURE, f"{strength.name}: its files are not known, so it proves nothing")
    counts = f"{strength.strong} of {strength.files} files have a strong digest"
    counts += f", {strength.weak} only a weak one" if strength.weak else ""
    counts += f", {strength.bare} none" if strength.bare else ""
    style = GOOD if strength.strong == strength.files else UNSURE
    return verdict("well-formed", style, f"{strength.name}: {counts}")
