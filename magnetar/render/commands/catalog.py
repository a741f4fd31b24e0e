"""The releases of the catalog, what was added to it, and what was removed."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from magnetar.render.commands.manifest import draw_manifest
from magnetar.render.text import GOOD, UNSURE, count, foreign, new_table, note, verdict

if TYPE_CHECKING:
    from magnetar.pipeline.catalog import Added, Entry, Listing, Removed


def draw_listing(listing: "Listing") -> RenderableType:
    """A row for each release. Those that the user added are marked."""
    table = new_table("name", "publisher", "published", ">parameters", ">active", "licence", "")
    for entry in listing.entries:
        facts = entry.manifest.architecture
        table.add_row(
            foreign(entry.name, style="bold"),
            foreign(entry.manifest.publisher),
            str(entry.manifest.published or "unknown"),
            count(facts.total_parameters),
            count(facts.active_parameters),
            foreign(entry.manifest.licence),
            Text("added by you", style="cyan") if entry.signer else "",
        )
    broken = [verdict("passed over", UNSURE, reason) for reason in listing.broken]
    return Group(table, *broken, note("magnetar catalog show NAME tells the rest"))


def draw_entry(entry: "Entry") -> RenderableType:
    """Everything that is known of one release; of one that was added, also its source and its signer."""
    manifest = draw_manifest(entry.manifest)
    if not entry.signer:
        return manifest
    return Group(manifest, note(f"added from {entry.source}"), note(f"signed by {entry.signer}"))


def draw_added(added: "Added") -> RenderableType:
    """The signer, and whether the signer was known before."""
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
    """What was removed, and whether the signer is still remembered."""
    kept = "its signer is forgotten" if removed.forgotten else "its signer stays remembered"
    return verdict("removed", GOOD, f"{removed.name}; {kept}")
