"""A manifest that must be signed, and by whom."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import UsageError, WrongBytesError
from magnetar.events import Emit, SignerFound, ignore
from magnetar.manifests.catalog import bundled_releases
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verify_report import VerifyReport
from magnetar.manifests.folder.layout import OWN_MANIFEST, SIGNATURE, SIGNERS_KEY, SIGNERS_ROOTS
from magnetar.manifests.schema import MAX_MANIFEST_BYTES, parse_manifest
from magnetar.manifests.signing.check import (
    ByCertificate,
    ByKey,
    Expected,
    Signer,
    check_signature,
    hint_for_key,
    hint_in_signature,
)
from magnetar.manifests.signing.keys import read_key
from magnetar.manifests.user_catalog import read_pins, user_folder, user_releases
from magnetar.pipeline.folder.release_folder import ReleaseFolder

if TYPE_CHECKING:
    from magnetar.pipeline.proving.verify_copy import ProvenCopy


@dataclass(frozen=True, slots=True)
class SignatureDemand:
    """What is asked of a manifest's signature.

    ``expected`` is the signer; None means any signer that a release was added to the catalog with. ``signature`` is the
    file of the signature; None means that it lies beside the manifest.
    """

    expected: Expected | None = None
    signature: Path | None = None


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest whose signature was checked: its file, the bytes that were signed, and the signer."""

    path: Path
    content: bytes
    signer: Signer

    def credit(self, found: "VerifyReport | ProvenCopy") -> "VerifyReport | ProvenCopy":
        """The result with the trust that the signature adds.

        A folder's own manifest counts for as much as one from elsewhere if the right signer signed it. Raises
        ``WrongBytesError`` if the manifest is not what was signed any more.
        """
        if _read(self.path) != self.content:
            raise WrongBytesError(f"{self.path}: changed while it was used", hint="see who else writes there")
        if isinstance(found, VerifyReport):
            reason = f"the manifest {self.path}, signed by {self.signer}"
            return replace(found, voucher=Voucher.SIGNER, reason=reason)
        return found.by_word_of(Voucher.SIGNER)


def check_signed(
    folder: ReleaseFolder, named: str | None, demand: SignatureDemand, emit: Emit = ignore
) -> SignedManifest:
    """Find the manifest, and check its signature against ``demand``.

    Raises ``WrongBytesError`` for a manifest that is not signed, for another signer, or for other bytes than those that
    were signed.
    """
    manifest = _find_manifest(folder, named)
    content = _read(manifest)
    signer = _check(manifest, content, demand)
    emit(SignerFound(str(manifest), str(signer)))
    return SignedManifest(manifest, content, signer)


def _find_manifest(folder: ReleaseFolder, named: str | None) -> Path:
    """The file of the manifest that was named, or of the one that goes with the folder."""
    if named in bundled_releases():
        raise WrongBytesError(f"{named}: its manifest ships with Magnetar, and is not signed by its publisher")
    if named is not None and named in user_releases():
        return user_folder() / f"{named}.toml"
    if named is not None:
        return Path(named)
    for manifest in (folder.published, folder.root / OWN_MANIFEST):
        if manifest is not None and manifest.is_file():
            return manifest
    return _find_manifest(folder, folder.choose().manifest.name)


def _check(manifest: Path, content: bytes, demand: SignatureDemand) -> Signer:
    beside = demand.signature or manifest.with_name(manifest.name + SIGNATURE)
    if not beside.is_file():
        raise WrongBytesError(
            f"{manifest}: is not signed: there is no {beside.name}", hint="get the signature from its publisher"
        )
    signature = read_key(beside)
    if demand.expected is not None:
        return check_signature(content, signature, demand.expected, str(manifest))
    return _check_known(manifest, content, signature)


def _check_known(manifest: Path, content: bytes, signature: bytes) -> Signer:
    """The signer, if it is the one that the publisher's releases were added to the catalog with."""
    release = parse_manifest(content, str(manifest))
    pinned = read_pins().signer_of(release.name, release.publisher)
    hint = hint_in_signature(signature)
    if pinned.startswith("certificate "):
        signer = _check_kept_roots(manifest, release.name, content, signature)
        if str(signer) == pinned:
            return signer
    for path in sorted(user_folder().glob(f"*{SIGNERS_KEY}")):
        key = ByKey(read_key(path), path.name)
        if pinned and hint and hint_for_key(key) == hint:
            signer = check_signature(content, signature, key, str(manifest))
            if str(signer) == pinned:
                return signer
    raise WrongBytesError(
        f"{manifest}: is signed, but not by anybody whom you have named",
        hint="say who must have: --public-key FILE, --certificate FILE, or --identity with --issuer",
    )


def _check_kept_roots(manifest: Path, name: str, content: bytes, signature: bytes) -> Signer:
    """The signer by the root certificates of the release's own entry in the catalog, else by those of another one."""
    own = user_folder() / f"{name}.toml{SIGNERS_ROOTS}"
    kept = sorted(user_folder().glob(f"*{SIGNERS_ROOTS}"), key=lambda path: path != own)
    if not kept:
        raise WrongBytesError(
            f"{manifest}: is signed with a certificate, and no root of it was kept",
            hint="name one: --certificate FILE; or add the release to the catalog anew, with --certificate FILE",
        )
    refusals = []
    for path in kept:
        try:
            return check_signature(content, signature, ByCertificate((path,)), str(manifest))
        except WrongBytesError as error:
            refusals.append(error)
    raise refusals[0]


def _read(manifest: Path) -> bytes:
    try:
        with manifest.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{manifest}: cannot be read: {error.strerror}", hint="name a manifest with -m") from error
