"""A folder whose files somebody signed, one by one: a ``model.sig`` of OpenSSF model signing."""

from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import MagnetarError
from magnetar.events import Emit, SignerFound, ignore
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.folder.layout import OWN_MANIFEST, SIGNATURE, publication_folder
from magnetar.manifests.schema import Manifest
from magnetar.manifests.signing.check import Signer
from magnetar.manifests.signing.folder_signature import (
    FOLDER_SIGNATURE,
    SignedFiles,
    check_folder_signature,
    is_over_folder,
    parse_folder_signature,
    read_folder_signature,
)
from magnetar.manifests.writing.create_manifest import plain_name
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.signed_manifest import SignatureDemand


@dataclass(frozen=True, slots=True)
class SignedFolder:
    """A signature over a folder that holds: its file, the files that it lists as a manifest, and the signer.

    ``left_out`` are the paths that the signer left out. What the manifest does not list was not signed: it is not
    checked, and not wrong.
    """

    path: Path
    manifest: Manifest
    signer: Signer
    left_out: tuple[str, ...]

    def choose(self) -> ChosenManifest:
        """The manifest as something to hold the folder against. The signer vouches for it."""
        return ChosenManifest(self.manifest, f"the signature {self.path}, by {self.signer}", Voucher.SIGNER)


def check_signed_folder(folder: ReleaseFolder, demand: SignatureDemand, emit: Emit = ignore) -> SignedFolder | None:
    """Check the signature over the folder's files, if there is one and a signer was named; None otherwise.

    It is the file that ``demand`` names; else ``model.sig`` in the folder or in ``DIR.magnetar``, ``DIR.sig``, or a
    ``model.sig`` beside the folder that says that it is of a folder of this name. No file of the folder is read.
    Raises as ``check_folder_signature`` does: ``WrongBytesError`` if it is not by whom ``demand`` expects.
    """
    path = find_folder_signature(folder, demand)
    if path is None or demand.expected is None:
        return None
    signed, signer = check_folder_signature(read_folder_signature(path), demand.expected, str(path))
    emit(SignerFound(str(path), str(signer)))
    return SignedFolder(path, _as_manifest(signed, folder, signer), signer, signed.left_out)


def is_signed_as_folder(folder: ReleaseFolder, named: str | None, demand: SignatureDemand) -> bool:
    """Whether the signature that counts is one over the folder's files, and not one of a manifest.

    A manifest that was named must be signed itself. A signature that was named is what it says that it is over. Where
    neither was, a signed manifest comes first, because it says more. Nothing is checked.
    """
    if named is not None or demand.expected is None:
        return False
    if demand.signature is None:
        for manifest in (folder.published, folder.root / OWN_MANIFEST):
            if manifest is not None and manifest.with_name(manifest.name + SIGNATURE).is_file():
                return False
    return find_folder_signature(folder, demand) is not None


def find_folder_signature(folder: ReleaseFolder, demand: SignatureDemand) -> Path | None:
    """The file of a signature over the folder's files; None if there is none. Nothing of it is checked."""
    if not folder.is_folder:
        return None
    if demand.signature is not None:
        named = demand.signature
        return named if named.is_file() and is_over_folder(read_folder_signature(named)) else None
    root = folder.root.resolve()
    for path in (
        root / FOLDER_SIGNATURE,
        publication_folder(root) / FOLDER_SIGNATURE,
        root.with_name(f"{root.name}.sig"),
    ):
        if path.is_file() and is_over_folder(read_folder_signature(path)):
            return path
    beside = root.with_name(FOLDER_SIGNATURE)
    return beside if beside.is_file() and _is_named(beside, root.name) else None


def _is_named(path: Path, name: str) -> bool:
    """Whether a signature beside several folders says that it is of the one of this name."""
    try:
        return parse_folder_signature(read_folder_signature(path), str(path)).name == name
    except MagnetarError:
        return False


def _as_manifest(signed: SignedFiles, folder: ReleaseFolder, signer: Signer) -> Manifest:
    """The list of files as a manifest. Its name is only for people: the signature says nothing of a release."""
    name = plain_name(signed.name) or plain_name(folder.root.resolve().name) or "signed"
    return signed.as_manifest(name, str(signer)[:2000])
