"""Verification that also asks who says so: the manifest must be signed, and by whom."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import UsageError, WrongBytesError
from magnetar.events import Emit, SignerFound, ignore
from magnetar.manifests.catalog import bundled_releases
from magnetar.manifests.checking.choose_manifest import Trust
from magnetar.manifests.checking.report import VerifyReport
from magnetar.manifests.folder.layout import OWN_MANIFEST, SIGNATURE, SIGNERS_KEY, published_manifest
from magnetar.manifests.schema import MAX_MANIFEST_BYTES, parse_manifest
from magnetar.manifests.signing.check import ByKey, Expected, Signer, check_signature, hint_for_key, hint_in_signature
from magnetar.manifests.signing.keys import read_key
from magnetar.manifests.user_catalog import read_pins, user_folder, user_releases
from magnetar.pipeline.folder.release_folder import choose_for
from magnetar.pipeline.verify import PLAINLY, Asked, verify_any

if TYPE_CHECKING:
    from magnetar.pipeline.proving.verify_converted import Proven


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of the manifest's signature: by whom it must be, and where it is if not beside the manifest.

    ``required`` without ``expected``: it must be by a signer that a release was added to the catalog with.
    """

    expected: Expected | None = None
    signature: Path | None = None
    required: bool = False


def verify_signed(
    path: Path, named: str | None, demand: Demand, asked: Asked = PLAINLY, *, emit: Emit = ignore
) -> "VerifyReport | Proven":
    """Verify as ``verify_any`` does, and beforehand that the manifest is signed as was demanded.

    Then no file may be there that the manifest does not have: a signature covers the whole folder. A folder's own
    manifest counts for as much as one from elsewhere if the right signer signed it. Raises ``WrongBytesError`` for
    an unsigned manifest, another signer, or other bytes than those that were signed.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder", hint="name what holds the weights")
    manifest = _find_manifest(path, named)
    content = _read(manifest)
    signer = _check(manifest, content, demand)
    emit(SignerFound(str(manifest), str(signer)))
    found = verify_any(path, str(manifest), replace(asked, strict=True), emit=emit)
    if _read(manifest) != content:
        raise WrongBytesError(f"{manifest}: changed while it was used", hint="see who else writes there")
    return _credit(found, f"the manifest {manifest}, signed by {signer}")


def _credit(found: "VerifyReport | Proven", reason: str) -> "VerifyReport | Proven":
    trust = Trust.RELEASE if found.trust is Trust.UNDAMAGED else found.trust
    if isinstance(found, VerifyReport):
        return replace(found, trust=trust, reason=reason)
    return replace(found, trust=trust)


def _find_manifest(path: Path, named: str | None) -> Path:
    """The file of the manifest that was named, or of the one that goes with the folder."""
    if named in bundled_releases():
        raise WrongBytesError(f"{named}: its manifest ships with Magnetar, and is not signed by its publisher")
    if named is not None and named in user_releases():
        return user_folder() / f"{named}.toml"
    if named is not None:
        return Path(named)
    folder = path if path.is_dir() else path.parent
    for manifest in (published_manifest(folder), folder / OWN_MANIFEST):
        if manifest is not None and manifest.is_file():
            return manifest
    return _find_manifest(path, choose_for(folder).manifest.name)


def _check(manifest: Path, content: bytes, demand: Demand) -> Signer:
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


def _read(manifest: Path) -> bytes:
    try:
        with manifest.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{manifest}: cannot be read: {error.strerror}", hint="name a manifest with -m") from error
