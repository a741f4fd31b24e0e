"""What is known of a release before its weights are run: the text to score, the score, the fingerprint."""

from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog
from magnetar.manifests.folder.layout import publication_folder
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import Manifest
from magnetar.manifests.user_catalog import user_folder
from magnetar.model.bundled import find_golden, find_text, neutral_text
from magnetar.pipeline.folder.release_folder import ReleaseFolder


@dataclass(frozen=True, slots=True)
class Expectations:
    """The text that a release is scored on, the score it must reach in bits per byte, and its fingerprint's file.

    ``release`` is the name of the release; it is empty where nobody knows which release it is. ``own`` says whether the
    text is the one that the manifest names; else it is the neutral text.
    """

    release: str
    text: str
    own: bool
    bits_per_byte: float | None = None
    tolerance: float = 0.01
    golden: Path | None = None


def look_up(folder: ReleaseFolder, named: str | None = None) -> Expectations:
    """What is expected of the weights in ``folder``: by the release that was ``named``, or that the folder may be.

    Raises ``UsageError`` for a name that is not known, ``ManifestError`` for a file that is no manifest.
    """
    manifest = folder.choose(named).manifest if named else release_of(folder)
    name, smoke = (manifest.name, manifest.smoke) if manifest else ("", None)
    if smoke is None:
        return Expectations(name, neutral_text().text, own=False)
    golden = _find_golden(smoke.golden, folder.root, named) if smoke.golden else None
    text = find_text(smoke.text)
    if text is None:
        return Expectations(name, neutral_text().text, own=False, golden=golden)
    return Expectations(name, text.text, True, smoke.bits_per_byte, smoke.tolerance, golden)


def release_of(folder: ReleaseFolder) -> Manifest | None:
    """The release of the catalog that the weights in a folder are; None if unknown.

    It is the one that everything that was read of them agrees with, whatever names and notes say. Where content does
    not tell, it is the one that the folder was converted from, by a note that only hints at a name in the catalog, was
    fetched as, or fits by its file names.
    """
    candidate = folder.candidate
    if candidate is not None and candidate.agrees_throughout:
        return catalog().get(candidate.release)
    if folder.conversion is not None:
        return catalog().get(folder.conversion.release)
    try:
        return folder.choose().manifest
    except UsageError:
        return None


def _find_golden(digest: Digest, folder: Path, named: str | None) -> Path | None:
    """The fingerprint with that digest: among those that ship or were added, in the folder, or beside the manifest."""
    beside = [Path(named).parent] if named and Path(named).is_file() else []
    return find_golden(digest, folder, publication_folder(folder), user_folder(), *beside)
