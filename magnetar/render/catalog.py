"""The catalog on the screen: what is known, whose it is, and who signed what was added."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from magnetar.render.manifest import draw_manifest
from magnetar.render.text import GOOD, UNSURE, clean, count, new_table, note, verdict

if TYPE_CHECKING:
    from magnetar.pipeline.catalog import Added, Entry, Listing, Removed


def draw_listing(listing: "Listing") -> RenderableType:
    """One row a release; those that the user added say so."""
    table = new_table("name", "publisher", "published", ">parameters", ">active", "licence", "")
    for entry in listing.entries:
        facts = entry.manifest.architecture
        table.add_row(
            Text(entry.name, style="bold"),
            clean(entry.manifest.publisher),
            str(entry.manifest.published or "unknown"),
            count(facts.total_parameters),
            count(facts.active_parameters),
            clean(entry.manifest.licence),
            Text("added by you", style="cyan") if entry.signer else "",
        )
    broken = [verdict("passed over", UNSURE, reason) for reason in listing.broken]
    return Group(table, *broken, note("magnetar catalog show NAME tells the rest"))


def draw_entry(entry: "Entry") -> RenderableType:
    """Everything that is known of one release, and of a release that was added, on whose word."""
    manifest = draw_manifest(entry.manifest)
    if not entry.signer:
        return manifest
    return Group(manifest, note(f"added from {entry.source}"), note(f"signed by {entry.signer}"))


def draw_added(added: "Added") -> RenderableType:
    """The signer, and what that is worth."""
    entry = added.entry
    word = "replaced" if added.replaced else "added"
    lines: list[RenderableType] = [
        verdict(word, GOOD, f"{entry.name}, by {entry.manifest.publisher}, to {added.folder}")
    ]
    lines.append(note(f"signed by {entry.signer}"))
    if added.first_use:
        lines.append(
            verdict(
                "seen for the first time",
                UNSURE,
                f"nothing else says that this is {entry.manifest.publisher}: compare the fingerprint with what they "
                "say elsewhere. From now on no other signer is accepted for them",
            )
        )
    return Group(*lines)


def draw_removed(removed: "Removed") -> RenderableType:
    """What is gone, and what is not."""
    kept = "its signer is forgotten" if removed.forgotten else "its signer stays remembered"
    return verdict("removed", GOOD, f"{removed.name}; {kept}")
