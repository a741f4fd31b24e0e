"""Keys and certificates for signatures: reading them within limits, and naming them by their fingerprints."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from magnetar.errors import OutsideError, UsageError
from magnetar.files import disk_failure

CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAX_KEY_BYTES = 1 << 20
"""The limit for a key, a certificate or a signature; real ones have a few thousand bytes."""


def load_library() -> Any:
    """Import ``model_signing``. Raises ``UsageError`` if the extra ``sign`` is not installed."""
    if find_spec("model_signing") is None:
        raise UsageError("model-signing is not installed, and signatures need it", hint="install magnetar[sign]")
    import model_signing

    return model_signing


def key_fingerprint(public_key: Any) -> str:
    """``sha256:`` and the digest of a key in DER: ``openssl pkey -pubin -outform DER | sha256sum`` gives the same."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def parse_public_key(pem: bytes, where: str) -> Any:
    """Parse a public key on one of ``CURVES``; messages name it by ``where``. Raises ``UsageError``."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    with wrap_key_errors(f"{where}: holds no public key in PEM"):
        return _check_curve(load_pem_public_key(pem), where)


def read_private_key(path: Path) -> Any:
    """Read a private key on one of ``CURVES`` from unencrypted PEM. Raises ``UsageError`` or ``DiskError``."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with wrap_key_errors(f"{path}: holds no private key in PEM"):
            return _check_curve(load_pem_private_key(read_key(path), None), path)
    except TypeError as error:
        raise UsageError(
            f"{path}: the key is encrypted, and model signing takes plain ones",
            hint="openssl pkey -in KEY -out PLAIN, where only you can read it, for as long as it takes",
        ) from error


def _check_curve(key: Any, where: object) -> Any:
    if getattr(getattr(key, "curve", None), "name", "") not in CURVES:
        raise UsageError(
            f"{where}: model signing takes keys on the curves P-256, P-384 and P-521",
            hint="openssl ecparam -name prime256v1 -genkey -noout -out KEY",
        )
    return key


def name_certificate(certificate: Any) -> str:
    """The subject as RFC 4514 writes it, and the fingerprint of the key; what cannot be printed is escaped.

    Line breaks are escaped too: a subject may hold whatever its authority lets pass.
    """
    subject = certificate.subject.rfc4514_string()
    plain = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in subject)
    return f"{plain} {key_fingerprint(certificate.public_key())}"


def encode_pem(public_key: Any) -> bytes:
    """A public key as PEM (SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def read_key(path: Path) -> bytes:
    """Read a key, a certificate or a signature of at most ``MAX_KEY_BYTES``. Raises ``UsageError`` or ``DiskError``."""
    return read_limited(path, MAX_KEY_BYTES)


def read_limited(path: Path, limit: int) -> bytes:
    """Read a key or a signature of at most ``limit`` bytes. Raises ``UsageError`` or ``DiskError``."""
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file", hint="check the path") from error
    except OSError as error:
        raise disk_failure(error, path) from error
    if len(content) > limit:
        raise UsageError(f"{path}: is too large for a key or a signature: {limit:,} bytes are the limit")
    return content


def unreadable() -> tuple[type[Exception], ...]:
    """What ``cryptography`` raises for a key or a certificate that is damaged, or not understood.

    ``TypeError`` is what it raises for an attribute of a name whose ASN.1 type is not the one that the attribute has.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType

    return ValueError, TypeError, UnsupportedAlgorithm, DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType


@contextmanager
def wrap_key_errors(message: str) -> Iterator[None]:
    """Turn what ``cryptography`` raises for a wrong or damaged file into ``UsageError(message)``."""
    try:
        yield
    except unreadable() as error:
        raise UsageError(message, hint="name another file") from error


@contextmanager
def wrap_sigstore_errors() -> Iterator[None]:
    """Turn what goes wrong on the way to Sigstore into ``OutsideError``."""
    from requests import RequestException
    from sigstore.errors import Error

    try:
        yield
    except (Error, RequestException, OSError) as error:
        raise OutsideError(
            f"Sigstore: {reason_of(error)}",
            hint="check the network, use a key, or verify with --trust-config FILE: nothing was signed or checked",
        ) from error


def reason_of(error: BaseException) -> str:
    """The first line of a foreign error, or the name of its class if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
