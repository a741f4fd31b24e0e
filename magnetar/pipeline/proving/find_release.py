"""Which release a folder, or a file of weights, is held against: by its files, its content, or a note's hint."""

from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import INDEPENDENT, Voucher
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.copies import is_copy


def find_release_of(folder: ReleaseFolder, named: str | None) -> ChosenManifest:
    """The manifest to hold a folder, or a file of weights, against. The first of these that exists is taken:

    1. what the user named;
    2. the release of the catalog whose own files these are, by their names and sizes;
    3. the release of the catalog whose tensors these are, by a few MB of them;
    4. the release of the catalog that a note of a conversion names: whoever made the folder wrote it, so it is only
       where to look;
    5. a manifest that came with the folder, which is the folder's own word.

    Raises ``UsageError`` where nothing says which, ``ManifestError`` for a manifest that is broken.
    """
    if named is not None:
        return folder.choose(named)
    chosen, unclear = _by_files(folder)
    known = chosen if chosen is not None and chosen.voucher in INDEPENDENT else None
    if known is not None and not is_copy(folder, known.manifest):
        return known
    found = _by_content(folder) or known or _by_note(folder) or chosen
    if found is None:
        raise unclear or UsageError(
            f"{folder.path}: nothing says which release it was made from, and its content is of none that is known",
            hint="say which with --manifest NAME or FILE",
        )
    return found


def _by_files(folder: ReleaseFolder) -> tuple[ChosenManifest | None, UsageError | None]:
    """What the names and sizes of the files say; and, where they say nothing, or too much, the error that says so."""
    if not folder.is_folder:
        return None, None
    try:
        return folder.choose(), None
    except UsageError as error:
        return None, error


def _by_content(folder: ReleaseFolder) -> ChosenManifest | None:
    if not folder.weights:
        return None
    from magnetar.pipeline.identify import find_candidate

    candidate = find_candidate(folder)
    if candidate is None:
        return None
    reason = "the release of the catalog that its content is of"
    return ChosenManifest(catalog()[candidate.release], reason, Voucher.CATALOG)


def _by_note(folder: ReleaseFolder) -> ChosenManifest | None:
    """The release that a conversion's note names. A name is looked up in the catalog; a path is not followed."""
    manifest = catalog().get(folder.conversion.release) if folder.conversion else None
    if manifest is None:
        return None
    reason = "the release of the catalog that the note of its conversion names"
    return ChosenManifest(manifest, reason, Voucher.CATALOG)
