"""Sign manifests and lists of files, by OpenSSF model signing: with a key, a certificate, or a Sigstore identity."""

import sys
import tempfile
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from magnetar.errors import ManifestError, UsageError, WrongBytesError
from magnetar.manifests.folder.layout import SIGNATURE
from magnetar.manifests.signing.certificates import CertificateDemand, load_roots, reason_against
from magnetar.manifests.signing.check import ByCertificate, ByKey, Expected, Signer, check_signature
from magnetar.manifests.signing.folder_signature import SignedFiles, check_folder_signature, sign_files
from magnetar.manifests.signing.keys import (
    encode_pem,
    key_fingerprint,
    load_library,
    name_certificate,
    read_key,
    read_private_key,
    wrap_key_errors,
    wrap_sigstore_errors,
)

E_MAIL_IS_PUBLISHED = (
    "signing with Sigstore: your e-mail address, and that you signed this, go into a public log and stay there "
    "for ever; a browser asks who you are, and Ctrl-C now prevents it"
)


@dataclass(frozen=True, slots=True)
class KeySigning:
    """Sign with a private key: a file with unencrypted PEM, on one of ``CURVES``."""

    key: Path


@dataclass(frozen=True, slots=True)
class CertificateSigning:
    """Sign with a private key; its certificate, and the ``chain`` from it to a root, go into the signature."""

    key: Path
    certificate: Path
    chain: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class SigstoreSigning:
    """Sign as the identity in ``token``; empty asks in a browser. Sigstore publishes the e-mail address."""

    token: str = ""


Signing = KeySigning | CertificateSigning | SigstoreSigning


def _read_usable(certificate: Path, chain: tuple[Path, ...]) -> Any:
    """The certificate. Raises ``UsageError`` for one with which nobody would believe a signature."""
    leaf = load_roots(read_key(certificate), str(certificate))[0]
    roots = [root for path in chain for root in load_roots(read_key(path), str(path))]
    reason = reason_against((leaf, *roots), roots, CertificateDemand(), datetime.now(UTC))
    if reason:
        raise UsageError(
            f"{certificate}: nobody would believe a signature with it: {reason}",
            hint="name another certificate, and with --chain each one between it and a root",
        )
    return leaf


class ManifestSigner:
    """Signs manifests with one key or identity. Keys are read, and Sigstore is reached, when it is made.

    ``signer`` is whom it signs as. ``public_key`` is the key that checks its signatures, in PEM; empty if a certificate
    or Sigstore does. Raises ``UsageError`` for a key or certificate that cannot be used, ``OutsideError`` if Sigstore
    is out of reach.
    """

    def __init__(self, signing: Signing) -> None:
        self.public_key = b""
        self._roots: tuple[Path, ...] = ()
        self._signing = signing
        config = load_library().signing.Config()
        match signing:
            case KeySigning(key):
                private_key = read_private_key(key)
                self.public_key = encode_pem(private_key.public_key())
                self.signer = Signer("key", key_fingerprint(private_key.public_key()))
                self._config = config.use_elliptic_key_signer(private_key=key)
            case CertificateSigning(key, certificate, chain):
                read_private_key(key)
                self._roots = chain or (certificate,)
                for path in self._roots:
                    read_key(path)
                self.signer = Signer("certificate", name_certificate(_read_usable(certificate, self._roots)))
                with wrap_key_errors(f"{certificate}: is not the certificate of {key}"):
                    self._config = config.use_certificate_signer(
                        private_key=key, signing_certificate=certificate, certificate_chain=self._roots
                    )
            case SigstoreSigning(token):
                self.signer = Signer("sigstore", "identity")
                with wrap_sigstore_errors():
                    self._config = config.use_sigstore_signer(identity_token=token or None)

    def sign(self, name: str, content: bytes) -> bytes:
        """Sign ``content``, the manifest in the file ``name``. The signature has other bytes each time."""
        reaching = wrap_sigstore_errors() if isinstance(self._signing, SigstoreSigning) else nullcontext()
        with tempfile.TemporaryDirectory() as folder:
            manifest, signature = Path(folder) / name, Path(folder) / (name + SIGNATURE)
            manifest.write_bytes(content)
            with redirect_stdout(sys.stderr), reaching:
                self._config.sign(manifest, signature)
            return signature.read_bytes()

    @property
    def signs_folders(self) -> bool:
        """Whether the files of a folder are signed besides its manifest. With Sigstore, only the manifest is."""
        return not isinstance(self._signing, SigstoreSigning)

    def sign_folder(self, signed: SignedFiles) -> bytes:
        """The signature over a folder's files, each with its SHA-256. None of them is read."""
        return sign_files(signed, self._config)

    def is_own_folder_signature(self, signed: SignedFiles, signature: bytes) -> bool:
        """Whether ``signature`` is over just these files and by this signer. False for Sigstore, as below."""
        expected = self._expected()
        try:
            return expected is not None and check_folder_signature(signature, expected, "it") == (signed, self.signer)
        except (WrongBytesError, ManifestError):
            return False

    def is_own_signature(self, content: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is over ``content`` and by this signer. False for Sigstore, where this is not known."""
        expected = self._expected()
        try:
            return expected is not None and check_signature(content, signature, expected, "it") == self.signer
        except WrongBytesError:
            return False

    def _expected(self) -> Expected | None:
        """Who must have made a signature that is this signer's own; None for Sigstore."""
        if isinstance(self._signing, SigstoreSigning):
            return None
        return ByKey(self.public_key, "the key") if self.public_key else ByCertificate(self._roots)
