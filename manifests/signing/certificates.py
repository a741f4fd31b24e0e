"""Certificates (X.509, RFC 5280) of signers: whether one was valid, made for signing code, and vouched for by a root.

::

    chain = chain_in_signature(signature)             # the signer's certificate first: a claim, until it is checked
    check_chain(chain, roots, demand, where)          # from the signer's certificate to a root, link by link

``model_signing`` 1.1.1 checks the signatures in a chain, and takes the beginning of the signer's certificate for the
time of signing: it accepts certificates that expired long ago, and those of TLS servers. What is demanded here:

- every certificate of the chain is valid at the moment, the root too;
- the signer's has the key usage digitalSignature and the extended key usage codeSigning;
- each one above it is an authority (CA:TRUE), may sign certificates, and allows a chain of that length;
- none is signed with MD5 or SHA-1, by an RSA key below 2,048 bits, or has a critical extension that is not known here.

Nobody is asked whether a certificate was revoked.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from magnetar.errors import UsageError, WrongBytesError
from magnetar.manifests.signing.keys import reason_of, unreadable, wrap_key_errors

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

MAX_CERTIFICATES = 8
"""In one signature. Chains have two to four."""
MAX_PATHS = 64
"""Ways from the signer's certificate to a root that are tried. Authorities that certify each other make several."""
MAX_ROOTS = 1000
"""The collections of public roots have about 150."""
MIN_RSA_BITS = 2048

HINT = "ask the signer for a signature with a certificate that is in order; do not use these files"


@dataclass(frozen=True, slots=True)
class CertificateDemand:
    """Who a certificate must name. Empty words demand nothing.

    ``subject`` and ``issuer`` are either a distinguished name (RFC 4514, such as ``CN=My Lab,O=Example``), whose every
    attribute the certificate's must have; or words without "=", which are the common name, or for the subject one of
    its alternative names (an e-mail address, a URI, a host). The issuer is the one that the certificate itself names.
    """

    subject: str = ""
    issuer: str = ""


def chain_in_signature(signature: bytes) -> tuple["Certificate", ...]:
    """The certificates in a signature (a Sigstore bundle), the signer's first.

    Raises one of ``unreadable()`` if it holds none, too many, or any that is none. Nothing of them is checked.
    """
    from cryptography.x509 import load_der_x509_certificate

    try:
        listed = json.loads(signature)["verificationMaterial"]["x509CertificateChain"]["certificates"]
        encoded = [entry["rawBytes"] for entry in listed]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it holds no certificate") from error
    if not 0 < len(encoded) <= MAX_CERTIFICATES:
        raise ValueError(f"it holds {len(encoded)} certificates, and between 1 and {MAX_CERTIFICATES} are read")
    if not all(isinstance(text, str) for text in encoded):
        raise ValueError("it holds a certificate that is no text in base 64")
    return tuple(load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in encoded)


def load_roots(pem: bytes, where: str) -> tuple["Certificate", ...]:
    """The certificates in a PEM file. Raises ``UsageError`` if there is none, or one that is damaged."""
    from cryptography.x509 import load_pem_x509_certificates

    with wrap_key_errors(f"{where}: holds no certificate in PEM"):
        roots = tuple(load_pem_x509_certificates(pem))
    if len(roots) > MAX_ROOTS:
        raise UsageError(f"{where}: holds {len(roots)} certificates, and {MAX_ROOTS} are read")
    return roots


def check_chain(
    chain: Sequence["Certificate"], roots: Sequence["Certificate"], demand: CertificateDemand, where: str
) -> None:
    """Raise ``WrongBytesError`` if there is a reason against the chain now. ``where`` names what was signed."""
    reason = reason_against(chain, roots, demand, datetime.now(UTC))
    if reason:
        raise WrongBytesError(f"{where}: its signature does not hold: {reason}", hint=HINT)


def reason_against(
    chain: Sequence["Certificate"], roots: Sequence["Certificate"], demand: CertificateDemand, moment: datetime
) -> str:
    """Why not to believe the first certificate of a chain, in words; empty if all is well.

    It must be of whom ``demand`` names, and lead to one of the ``roots``. All that the module demands must hold for
    each certificate on that way, at ``moment``. The others may be in any order, and the chain need not hold the root.
    Raises ``UsageError`` for a demand that cannot be read.
    """
    try:
        _check_names(chain[0], demand)
        paths = list(islice(_paths(chain[0], chain[1:], roots), MAX_PATHS))
        if not paths:
            return f"{_name(chain[0])} leads to none of the certificates that you trust"
        reasons = [_fault_of(path, moment) for path in paths]
    except _Refused as error:
        return str(error)
    except unreadable() as error:
        return f"a certificate of it cannot be read: {reason_of(error)}"
    return reasons[0] if all(reasons) else ""


class _Refused(Exception):
    """A reason not to believe a certificate."""


def _paths(
    leaf: "Certificate", between: Sequence["Certificate"], roots: Sequence["Certificate"]
) -> Iterator[tuple["Certificate", ...]]:
    """Every way from the leaf to a root in which each certificate was signed by the key of the next."""
    issuers = {
        certificate: [issuer for issuer in dict.fromkeys((*roots, *between)) if _is_signed_by(certificate, issuer)]
        for certificate in dict.fromkeys((leaf, *between))
    }

    def extend(path: tuple["Certificate", ...]) -> Iterator[tuple["Certificate", ...]]:
        if path[-1] in roots:
            yield path
            return
        for issuer in issuers[path[-1]]:
            if issuer not in path:
                yield from extend((*path, issuer))

    return extend((leaf,))


def _is_signed_by(certificate: "Certificate", issuer: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    if certificate.issuer != issuer.subject:
        return False
    refusals: tuple[type[Exception], ...] = (InvalidSignature, *unreadable())
    try:
        certificate.verify_directly_issued_by(issuer)
    except refusals:
        return False
    return True


def _fault_of(path: Sequence["Certificate"], moment: datetime) -> str:
    """Why a path is not good; empty if it is."""
    try:
        for place, certificate in enumerate(path):
            _check_time(certificate, moment)
            _check_strength(certificate, is_root=place == len(path) - 1)
            _check_critical(certificate)
            if place:
                _check_authority(certificate, path[:place], is_root=place == len(path) - 1)
        _check_purpose(path[0])
    except _Refused as error:
        return str(error)
    except unreadable() as error:  # an extension that is damaged, of another version, or there twice
        return f"a certificate of it cannot be read: {reason_of(error)}"
    return ""


def _check_time(certificate: "Certificate", moment: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if moment > ends:
        raise _Refused(f"{_name(certificate)} expired on {_day(ends)}")
    if moment < begins:
        raise _Refused(f"{_name(certificate)} is not valid before {_day(begins)}")


def _check_strength(certificate: "Certificate", *, is_root: bool) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import MD5, SHA1

    if not is_root and isinstance(certificate.signature_hash_algorithm, MD5 | SHA1):  # a root's own proves nothing
        raise _Refused(f"{_name(certificate)} is signed with {certificate.signature_hash_algorithm.name.upper()}")
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise _Refused(f"{_name(certificate)} has an RSA key of {key.key_size} bits, and {MIN_RSA_BITS} is the least")


def _check_critical(certificate: "Certificate") -> None:
    """Refuse what a certificate says must be understood, and is not. Constraints on names are refused in any case."""
    from cryptography import x509

    known = (
        x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName,
        x509.IssuerAlternativeName, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.CertificatePolicies,
        x509.CRLDistributionPoints,
    )  # fmt: skip
    for extension in certificate.extensions:
        restricts = isinstance(extension.value, x509.NameConstraints)
        if restricts or (extension.critical and not isinstance(extension.value, known)):
            name = type(extension.value).__name__
            raise _Refused(
                f"{_name(certificate)} has an extension that Magnetar does not judge: "
                f"{extension.oid.dotted_string}{'' if name == 'UnrecognizedExtension' else f' ({name})'}"
            )


def _check_authority(certificate: "Certificate", below: Sequence["Certificate"], *, is_root: bool) -> None:
    """An issuer must be an authority. ``below`` are the certificates under it, the signer's first."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise _Refused(f"{_name(certificate)} may not issue certificates (CA:FALSE), and issued {_name(below[-1])}")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise _Refused(f"{_name(certificate)} may not sign certificates (its key usage lacks keyCertSign)")
    between = sum(other.subject != other.issuer for other in below[1:])
    if constraints.path_length is not None and between > constraints.path_length:
        raise _Refused(f"{_name(certificate)} allows {constraints.path_length} authorities below it, and not {between}")
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    wanted = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if not is_root and purposes is not None and not wanted.intersection(purposes):
        raise _Refused(f"{_name(certificate)} is an authority for {_list(purposes)}, and not for codeSigning")


def _check_purpose(leaf: "Certificate") -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None:
        raise _Refused(f"{_name(leaf)} does not say that it is for signing code (no extended key usage codeSigning)")
    if ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise _Refused(f"{_name(leaf)} was made for {_list(purposes)}, and not for codeSigning")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise _Refused(f"{_name(leaf)} is not for signatures (its key usage lacks digitalSignature)")


def _check_names(leaf: "Certificate", demand: CertificateDemand) -> None:
    if demand.subject and not _has_name(leaf.subject, demand.subject, _other_names(leaf)):
        raise _Refused(f"it is by {_name(leaf)}, and not by {demand.subject!r}")
    if demand.issuer and not _has_name(leaf.issuer, demand.issuer):
        raise _Refused(
            f"the certificate of {_name(leaf)} was issued by {leaf.issuer.rfc4514_string()!r}, and not by "
            f"{demand.issuer!r}"
        )


def _has_name(name: "Name", wanted: str, others: Sequence[str] = ()) -> bool:
    from cryptography.x509 import Name
    from cryptography.x509.oid import NameOID

    if "=" not in wanted:
        common = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return common == [wanted] or wanted in others
    if wanted in others:  # a URI may hold "="
        return True
    with wrap_key_errors(f"{wanted!r}: is no distinguished name, such as 'CN=My Lab,O=Example'"):
        attributes = [(attribute.oid, attribute.value) for attribute in Name.from_rfc4514_string(wanted)]
    return not Counter(attributes) - Counter((attribute.oid, attribute.value) for attribute in name)


def _other_names(certificate: "Certificate") -> list[str]:
    from cryptography import x509

    names = _extension(certificate, x509.SubjectAlternativeName)
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    return [name.value for name in names or () if isinstance(name, kinds)]


def _extension(certificate: "Certificate", kind: Any) -> Any:
    """The extension of a kind; None if the certificate has none."""
    from cryptography.x509 import ExtensionNotFound

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None


def _list(purposes: Any) -> str:
    """Purposes by their names in RFC 5280, or by their numbers."""
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = {
        ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
        ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
        ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
        ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping",
        ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
    }
    return ", ".join(names.get(purpose, purpose.dotted_string) for purpose in purposes)


def _name(certificate: "Certificate") -> str:
    """The subject in quotes, so that no character of it can be taken for a part of the message."""
    return f"the certificate {certificate.subject.rfc4514_string()[:200]!r}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
