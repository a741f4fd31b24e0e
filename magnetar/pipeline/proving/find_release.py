"""Which release a folder, or a file of weights, is held against: by its files, its content, or a note's hint."""

from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog
from magnetar.manifests.checking.choose_manifest import ChosenManifest, choose_by_size
from magnetar.manifests.checking.ledger import INDEPENDENT, Voucher
from magnetar.manifests.identity.evidence import Candidate, Certainty
from magnetar.pipeline.folder.release_folder import ReleaseFolder

BY_TENSORS = (Certainty.IS, Certainty.IS_NOT_QUITE, Certainty.CANDIDATE, Certainty.RELATED)
"""What is known from tensors that agree, and not only from their sizes."""


def find_release_of(folder: ReleaseFolder, named: str | None) -> ChosenManifest:
    """The manifest to hold a folder, or a file of weights, against. The first of these that exists is taken:

    1. what the user named;
    2. the release of the catalog whose own files these are, by their names and the size of the largest;
    3. the release of the catalog some of whose tensors these are, by a few MB of them;
    4. the release of the catalog that fits by file names, or that a note in the folder names;
    5. a manifest that came with the folder, which is the folder's own word;
    6. the release of the catalog that has such files or tensors by their sizes.

    What the bytes show goes before what a note says, since whoever made the folder wrote the note. Raises
    ``UsageError`` where nothing says which, ``ManifestError`` for a manifest that is broken.
    """
    if named is not None:
        return folder.choose(named)
    if folder.is_folder and (fitting := choose_by_size(folder.root)):
        return fitting
    candidate = folder.candidate
    if candidate is not None and candidate.certainty in BY_TENSORS:
        return _of_catalog(candidate)
    chosen, unclear = _choose_by_files_and_notes(folder)
    known = chosen if chosen is not None and chosen.voucher in INDEPENDENT else None
    found = known or _choose_by_conversion(folder) or chosen or (_of_catalog(candidate) if candidate else None)
    if found is None:
        raise unclear or UsageError(
            f"{folder.path}: nothing says which release it was made from, and its content is of none that is known",
            hint="say which with --manifest NAME or FILE",
        )
    return found


def _choose_by_files_and_notes(folder: ReleaseFolder) -> tuple[ChosenManifest | None, UsageError | None]:
    """What a folder's files and notes name; and, where they name nothing, or too much, the error that says so."""
    if not folder.is_folder:
        return None, None
    try:
        return folder.choose(), None
    except UsageError as error:
        return None, error


def _of_catalog(candidate: Candidate) -> ChosenManifest:
    reason = "the release of the catalog that was found by its content"
    return ChosenManifest(catalog()[candidate.release], reason, Voucher.CATALOG)


def _choose_by_conversion(folder: ReleaseFolder) -> ChosenManifest | None:
    """The release that a conversion's note names. A name is looked up in the catalog; a path is not followed."""
    manifest = catalog().get(folder.conversion.release) if folder.conversion else None
    if manifest is None:
        return None
    reason = "the release of the catalog that the note of its conversion names"
    return ChosenManifest(manifest, reason, Voucher.CATALOG)
