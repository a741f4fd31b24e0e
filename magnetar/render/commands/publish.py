"""What was published: for the publisher on the screen, and for everybody else as a page in Markdown."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal

from magnetar.render.text import GOOD, UNSURE, binary, clean, count, foreign, markdown, note, verdict

if TYPE_CHECKING:
    from magnetar.manifests.schema import Manifest
    from magnetar.pipeline.publish import Published

ONLY_V1 = "aria2c and some other clients read version 1 only: --torrent-version v1 makes one for them"


def draw_published(published: "Published") -> RenderableType:
    """The link on a line of its own, then the files that were written and what to do next."""
    manifest = published.manifest
    parts: list[RenderableType] = [foreign(manifest.magnet, no_wrap=True, overflow="ignore")]
    parts.append(verdict("published", GOOD, f"{manifest.name}: {len(manifest.files or ())} files, {_size(published)}"))
    parts += [note(f"infohash {digest}") for digest in (manifest.infohash_v1, manifest.infohash_v2) if digest]
    parts.append(note(explain_pieces(published)))
    parts += [note(ONLY_V1)] if published.version != "v1" else []
    parts += [note(text) for text in _describe_recalled(published)]
    parts += [note(f"wrote {path}") for path in published.written]
    if published.signer is None:
        parts.append(verdict("unsigned", UNSURE, "whoever can change these files can change the manifest too: --sign"))
    else:
        parts.append(verdict("signed", GOOD, f"by {published.signer}: say so where people know you"))
    parts += [verdict("not done", UNSURE, reason) for reason in published.not_done]
    torrent = "" if published.kept else f" --torrent {published.out / manifest.name}.torrent"
    parts.append(note(f"to serve it: magnetar seed {published.folder}{torrent}"))
    return Group(*parts)


def _describe_recalled(published: "Published") -> Iterator[str]:
    """How much was hashed by an earlier run, and not read again."""
    unchanged = (
        "hashed by a run that was stopped, unchanged since (size, mtime, ctime, inode, device) and not read again"
    )
    if published.recalled:
        yield f"{len(published.recalled)} of {len(published.manifest.files or ())} files {unchanged}"
    if published.recalled_tensors:
        yield f"{published.recalled_tensors} tensors {unchanged}"


def explain_pieces(published: "Published") -> str:
    """The number and the length of the pieces, and how the length was chosen."""
    pieces = f"{published.piece_count:,} pieces of {binary(published.piece_length)}"
    if not published.piece_rule:
        return f"{pieces}, as asked for"
    root = math.isqrt(published.total_size)
    if published.piece_length < 10 * root:
        return f"{pieces}: the largest length that is chosen without being asked for"
    return f"{pieces}: the least power of two, from 16 KiB, of at least ten times the square root of {_size(published)}"


def _size(published: "Published") -> str:
    return decimal(published.total_size)


def release_page(published: "Published") -> str:
    """The page of the release, in Markdown. All foreign text in it is escaped."""
    return "\n".join(_lines(published)) + "\n"


def _lines(published: "Published") -> Iterator[str]:
    manifest = published.manifest
    yield f"# {markdown(manifest.title)}"
    yield ""
    if manifest.summary:
        yield from (markdown(manifest.summary), "")
    yield from ("| | |", "|---|---|")
    for name, value in _facts(published):
        yield f"| {name} | {markdown(value)} |"
    yield from _how_to_get(manifest)
    yield from _how_to_check(published)
    yield from ("", "## Files", "", "| file | bytes | SHA-256 |", "|---|---:|---|")
    for file in manifest.files or ():
        sha256 = next((digest.hex for digest in file.digests if digest.algorithm == "sha256"), "")
        yield f"| {markdown(file.path)} | {file.size:,} | `{sha256}` |"


def _facts(published: "Published") -> Iterator[tuple[str, str]]:
    manifest = published.manifest
    facts = manifest.architecture
    yield "publisher", manifest.publisher
    yield "licence", manifest.licence
    if manifest.published:
        yield "published", str(manifest.published)
    yield "size", f"{_size(published)} in {len(manifest.files or ())} files"
    if facts.total_parameters:
        active = f", {count(facts.active_parameters)} active for a token" if facts.active_parameters else ""
        yield "parameters", f"{count(facts.total_parameters)}{active}"
    if manifest.layout:
        yield "layout", manifest.layout
    for version, infohash in (("v1", manifest.infohash_v1), ("v2", manifest.infohash_v2)):
        if infohash:
            yield f"infohash {version}", infohash
    yield "pieces", explain_pieces(published)
    if manifest.smoke and manifest.smoke.bits_per_byte:
        yield "smoke test", f"{manifest.smoke.bits_per_byte} bits per byte on {manifest.smoke.text}"
    yield "signed by", str(published.signer) if published.signer else "nobody"


def _how_to_get(manifest: "Manifest") -> Iterator[str]:
    yield from ("", "## Get it", "")
    yield from _code(clean(manifest.magnet or "").replace("\n", ""), f"magnetar fetch {manifest.name}.torrent")
    yield from ("", "Any BitTorrent client takes the link or the torrent. Magnetar also proves and converts what came.")


def _how_to_check(published: "Published") -> Iterator[str]:
    manifest = published.manifest
    toml = f"{manifest.name}.toml"
    yield from ("", "## Check it", "", "In the folder of the release, with this page's files beside it:", "")
    signed = f" --public-key {toml}.pub" if published.signer and published.signer.kind == "key" else ""
    commands = ["sha256sum -c PATH/TO/SHA256SUMS", f"magnetar verify . --manifest PATH/TO/{toml}"]
    if signed:
        commands[1] += signed.replace(toml, f"PATH/TO/{toml}")
        commands.append(f"model_signing verify key {toml} --signature {toml}.sig --public_key {toml}.pub")
    yield from _code(*commands)
    yield ""
    if published.signer is None:
        yield "Nobody signed this: the digests prove that nothing was damaged, not who published it."
    else:
        yield (
            "A key that comes from the same place as the files proves nothing about who made them. "
            "Compare its fingerprint, above, with what the publisher says elsewhere."
        )


def _code(*lines: str) -> Iterator[str]:
    yield from (f"    {line}" for line in lines)
