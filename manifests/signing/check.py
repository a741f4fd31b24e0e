"""Who says so: the signature of a manifest, by OpenSSF model signing, checked.

What is signed is the manifest, byte for byte: it holds every file's digest and the infohash. The signature is a
Sigstore bundle over an in-toto statement, so that the ``model_signing`` tool checks it too.
"""

import base64
import hashlib
import io
import json
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magnetar.errors import WrongBytesError
from magnetar.manifests.signing.keys import (
    MAX_KEY_BYTES,
    encode_pem,
    fingerprint,
    load_library,
    parse_public_key,
    read_key,
    reason_of,
    wrap_key_errors,
    wrap_sigstore_errors,
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who made a signature that holds. ``kind`` is "key", "certificate" or "sigstore".

    ``name`` is what to compare with what the publisher says elsewhere: ``sha256:`` and the hex digest of the public key
    (DER, SubjectPublicKeyInfo), after a certificate's subject; or the identity and its issuer.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class ByKey:
    """A signature must be by the private half of this public key. ``where`` names the file that it came from."""

    pem: bytes
    where: str


@dataclass(frozen=True, slots=True)
class ByCertificate:
    """A signature must carry a certificate that leads to one of these roots (PEM)."""

    roots: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ByIdentity:
    """A signature must be of this Sigstore identity, an e-mail address or a workflow, as that issuer vouches.

    ``trust`` is a file that says whom to believe (Sigstore's ``ClientTrustConfig``, in JSON), for a Sigstore of one's
    own or for a machine without a network. None asks Sigstore's servers for theirs.
    """

    identity: str
    issuer: str
    trust: Path | None = None


Expected = ByKey | ByCertificate | ByIdentity


def check_signature(content: bytes, signature: bytes, expected: Expected, where: str) -> Signer:
    """The signer, if ``signature`` is of just these bytes and by whom it should be; ``where`` names the manifest.

    Raises ``WrongBytesError`` if not, ``UsageError`` for a key that cannot be read, ``OutsideError`` where Sigstore is
    out of reach.
    """
    if len(signature) > MAX_KEY_BYTES:
        raise WrongBytesError(f"{where}: its signature has over {MAX_KEY_BYTES} bytes, which none has")
    with tempfile.TemporaryDirectory() as folder:
        manifest, beside = Path(folder) / "manifest.toml", Path(folder) / "signature"
        config, signer = _verifier(expected, Path(folder) / "key")
        manifest.write_bytes(content)
        beside.write_bytes(signature)
        try:
            with redirect_stdout(io.StringIO()):
                config.verify(manifest, beside)
        except Exception as error:  # hostile bytes go through four parsers, each of which raises what it likes
            raise WrongBytesError(
                f"{where}: its signature does not hold: {reason_of(error)}",
                hint="get manifest and signature anew from the publisher; do not use these",
            ) from error
    return signer or Signer("certificate", _leaf_of(signature))


def key_hint(signature: bytes) -> str:
    """What a signature says of the key that made it: the SHA-256 of its PEM as hex. Empty if it says nothing.

    That is a claim, of use only for finding the key to check it with.
    """
    try:
        hint = json.loads(signature[:MAX_KEY_BYTES])["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return hint if isinstance(hint, str) else ""


def hint_of(key: ByKey) -> str:
    """What a signature made with this key says of it. Raises ``UsageError`` for what is no key."""
    return hashlib.sha256(encode_pem(parse_public_key(key.pem, key.where))).hexdigest()


def _verifier(expected: Expected, key: Path) -> tuple[Any, Signer | None]:
    """The library's check, and who the signer is if it passes; None where only the signature can tell.

    The library reads a key from a file: ``key`` is where there is room for it.
    """
    config = load_library().verifying.Config()
    match expected:
        case ByKey(pem, where):
            signer = Signer("key", fingerprint(parse_public_key(pem, where)))
            key.write_bytes(pem)
            return config.use_elliptic_key_verifier(public_key=key), signer
        case ByCertificate(roots):
            for root in roots:
                read_key(root)
            with wrap_key_errors(f"{', '.join(map(str, roots))}: cannot be used as roots"):
                return config.use_certificate_verifier(certificate_chain=roots), None
        case ByIdentity(identity, issuer, trust):
            wanted = {"identity": identity, "oidc_issuer": issuer}
            with (
                wrap_sigstore_errors()
                if trust is None
                else wrap_key_errors(f"{trust}: says nothing of whom Sigstore trusts")
            ):
                if trust is not None:
                    read_key(trust)
                checked = config.use_sigstore_verifier(**wanted, trust_config=trust)
            return checked, Signer("sigstore", f"{identity} ({issuer})")


def _leaf_of(signature: bytes) -> str:
    """The subject and the key's fingerprint of the certificate in a signature that was found to hold."""
    from cryptography.x509 import load_der_x509_certificate

    chain = json.loads(signature)["verificationMaterial"]["x509CertificateChain"]["certificates"]
    leaf = load_der_x509_certificate(base64.b64decode(chain[0]["rawBytes"]))
    return f"{leaf.subject.rfc4514_string()} {fingerprint(leaf.public_key())}"
