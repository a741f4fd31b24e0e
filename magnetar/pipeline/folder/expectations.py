"""What is known of a release before its weights are run: the text to score, the score, the fingerprint."""

from dataclasses import dataclass
from pathlib import Path

from magnetar.convert.write.journal import read_conversion
from magnetar.errors import UsageError
from magnetar.manifests.catalog import catalog
from magnetar.manifests.folder.layout import publication_folder
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import Manifest
from magnetar.manifests.user_catalog import user_folder
from magnetar.model.bundled import find_golden, find_text, neutral_text
from magnetar.pipeline.folder.release_folder import choose_for


@dataclass(frozen=True, slots=True)
class Known:
    """The text that a release is scored on, what it should come to in bits per byte, and its fingerprint's file.

    ``release`` is its name, empty where it is not known which it is; ``own`` says whether the text is the one that its
    manifest names, and not the neutral one.
    """

    release: str
    text: str
    own: bool
    expected: float | None = None
    tolerance: float = 0.01
    golden: Path | None = None


def look_up(path: Path, named: str | None = None) -> Known:
    """What is known of the weights at ``path``; of those ``named`` by a release of the catalog or a manifest file.

    Raises ``UsageError`` for a name that is not known, ``ManifestError`` for a file that is no manifest.
    """
    folder = path if path.is_dir() else path.parent
    manifest = choose_for(folder, named).manifest if named else release_of(path)
    name, smoke = (manifest.name, manifest.smoke) if manifest else ("", None)
    if smoke is None:
        return Known(name, neutral_text().text, own=False)
    golden = _find_golden(smoke.golden, folder, named) if smoke.golden else None
    text = find_text(smoke.text)
    if text is None:
        return Known(name, neutral_text().text, own=False, golden=golden)
    return Known(name, text.text, True, smoke.bits_per_byte, smoke.tolerance, golden)


def release_of(path: Path) -> Manifest | None:
    """The release that a folder (or the folder of a file) was fetched as, converted from, or fits; None if unknown."""
    folder = path if path.is_dir() else path.parent
    noted = read_conversion(folder)
    if noted is not None:
        return catalog().get(noted.release)
    try:
        return choose_for(folder).manifest
    except UsageError:
        return None


def _find_golden(digest: Digest, folder: Path, named: str | None) -> Path | None:
    """The fingerprint with that digest: among those that ship or were added, in the folder, or beside the manifest."""
    beside = [Path(named).parent] if named and Path(named).is_file() else []
    return find_golden(digest, folder, publication_folder(folder), user_folder(), *beside)
