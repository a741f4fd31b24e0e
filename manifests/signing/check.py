"""Check the signature of a manifest (OpenSSF model signing), and say who made it.

The bytes of the manifest are what is signed: they hold every file's digest and the infohash. The signature is a
Sigstore bundle with an in-toto statement, so the ``model_signing`` tool can check it too.
"""

import hashlib
import io
import json
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magnetar.errors import WrongBytesError
from magnetar.manifests.signing.certificates import CertificateDemand, chain_in_signature, check_chain, load_roots
from magnetar.manifests.signing.keys import (
    MAX_KEY_BYTES,
    encode_pem,
    key_fingerprint,
    load_library,
    name_certificate,
    parse_public_key,
    read_key,
    reason_of,
    unreadable,
    wrap_key_errors,
    wrap_sigstore_errors,
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who made a valid signature. ``kind`` is "key", "certificate" or "sigstore".

    ``name`` is for comparing with what the publisher says elsewhere. For a key it is ``sha256:`` and the hex digest of
    the public key (DER, SubjectPublicKeyInfo); for a certificate, its subject and then the same of its key; for
    Sigstore, the identity and its issuer.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class ByKey:
    """Expect a signature by the private half of this public key (PEM). ``where`` names the key's file in messages."""

    pem: bytes
    where: str


@dataclass(frozen=True, slots=True)
class ByCertificate:
    """Expect a signature with a certificate that leads to one of these root certificates (PEM files).

    It must be valid now, be made for signing code, and name whom ``demand`` names.
    """

    roots: tuple[Path, ...]
    demand: CertificateDemand = field(default_factory=CertificateDemand)


@dataclass(frozen=True, slots=True)
class ByIdentity:
    """Expect a signature by this Sigstore identity (an e-mail address or a workflow) of this issuer (a URL).

    ``trust`` is a file with the roots of trust (Sigstore's ``ClientTrustConfig``, in JSON), for a private Sigstore or
    for a machine without a network. None asks Sigstore's public servers for theirs.
    """

    identity: str
    issuer: str
    trust: Path | None = None


Expected = ByKey | ByCertificate | ByIdentity


def check_signature(content: bytes, signature: bytes, expected: Expected, where: str) -> Signer:
    """Return the signer if ``signature`` is over exactly these bytes, and by whom it is expected.

    Messages name the manifest by ``where``. Raises ``WrongBytesError`` if the signature does not hold, ``UsageError``
    for a key that cannot be used, ``OutsideError`` if Sigstore is out of reach.
    """
    if len(signature) > MAX_KEY_BYTES:
        raise WrongBytesError(f"{where}: its signature has over {MAX_KEY_BYTES} bytes, which none has")
    with tempfile.TemporaryDirectory() as folder:
        manifest, beside = Path(folder) / "manifest.toml", Path(folder) / "signature"
        config = make_verifier(expected, Path(folder) / "key")
        manifest.write_bytes(content)
        beside.write_bytes(signature)
        try:
            with redirect_stdout(io.StringIO()):
                config.verify(manifest, beside)
        except Exception as error:  # hostile bytes go through four foreign parsers, which may raise anything
            raise WrongBytesError(
                f"{where}: its signature does not hold: {reason_of(error)}",
                hint="get manifest and signature anew from the publisher; do not use these",
            ) from error
    return signer_of(expected, signature, where)


def hint_in_signature(signature: bytes) -> str:
    """The hint to its key that a signature holds: the SHA-256 of the public key's PEM, as hex. Empty if there is none.

    The hint is a claim. It serves only to find the key that the signature is then checked with.
    """
    try:
        hint = json.loads(signature[:MAX_KEY_BYTES])["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return hint if isinstance(hint, str) else ""


def hint_for_key(key: ByKey) -> str:
    """The hint that a signature by this key holds. Raises ``UsageError`` if ``key`` holds no public key."""
    return hashlib.sha256(encode_pem(parse_public_key(key.pem, key.where))).hexdigest()


def make_verifier(expected: Expected, key: Path) -> Any:
    """The library's verifier (``model_signing.verifying.Config``). What ``signer_of`` checks, it does not.

    The library reads a public key from a file only: ``key`` is the path of a file to be written for it. Raises
    ``UsageError`` for keys and roots that cannot be used, ``OutsideError`` if Sigstore is out of reach.
    """
    config = load_library().verifying.Config()
    match expected:
        case ByKey(pem, where):
            parse_public_key(pem, where)
            key.write_bytes(pem)
            return config.use_elliptic_key_verifier(public_key=key)
        case ByCertificate(roots):
            for root in roots:
                read_key(root)
            with wrap_key_errors(f"{', '.join(map(str, roots))}: cannot be used as roots"):
                return config.use_certificate_verifier(certificate_chain=roots)
        case ByIdentity(identity, issuer, trust):
            wanted = {"identity": identity, "oidc_issuer": issuer}
            with (
                wrap_sigstore_errors()
                if trust is None
                else wrap_key_errors(f"{trust}: says nothing of whom Sigstore trusts")
            ):
                if trust is not None:
                    read_key(trust)
                return config.use_sigstore_verifier(**wanted, trust_config=trust)


def signer_of(expected: Expected, signature: bytes, where: str) -> Signer:
    """The signer, once the library found that the signature holds. Raises ``WrongBytesError`` for a bad certificate.

    Sigstore's certificates were checked by then, at the time that its log states. With others no time of signing is
    proven, so they must be valid now.
    """
    match expected:
        case ByKey(pem, name):
            return Signer("key", key_fingerprint(parse_public_key(pem, name)))
        case ByIdentity(identity, issuer):
            return Signer("sigstore", f"{identity} ({issuer})")
        case ByCertificate(paths, demand):
            try:
                chain = chain_in_signature(signature)
            except unreadable() as error:
                raise WrongBytesError(f"{where}: its signature does not hold: {reason_of(error)}") from error
            roots = [root for path in paths for root in load_roots(read_key(path), str(path))]
            check_chain(chain, roots, demand, where)
            return Signer("certificate", name_certificate(chain[0]))
