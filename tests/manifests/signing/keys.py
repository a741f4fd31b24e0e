"""Keys and certificates for signing, made anew in each run."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier


def write_key(path: Path, curve: Any = None, password: bytes = b"") -> Path:
    """A private key at ``path``, and its public half beside it, at ``path`` with .pub added."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_name(path.name + ".pub").write_bytes(public)
    return path


def write_certificates(folder: Path, name: str = "My Lab") -> tuple[Path, Path, Path]:
    """A private key, its certificate, and the root that signed it."""
    root = Authority()
    return *root.certify(name).write(folder / "leaf.pem", folder / "leaf.crt"), root.write(folder / "root.crt")


@dataclass
class Signer:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def write(self, key: Path, certificate: Path) -> tuple[Path, Path]:
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return key, certificate


CODE = (ExtendedKeyUsageOID.CODE_SIGNING,)
DAY = timedelta(days=1)


@dataclass
class Authority:
    """An authority for certificates, with a key of its own. ``above`` vouches for it; None makes it a root."""

    name: str = "CN=Root"
    above: "Authority | None" = None
    valid: tuple[timedelta, timedelta] = (-DAY, DAY)
    """Begin and end, seen from now."""
    ca: bool | None = True
    """None: it does not say."""
    path_length: int | None = None
    cert_sign: bool | None = True
    purposes: tuple[ObjectIdentifier, ...] = ()
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)

    def __post_init__(self) -> None:
        by = self.above or self
        builder = _builder(self.name, by.name, self.key.public_key(), self.valid)
        if self.ca is not None:
            limit = self.path_length if self.ca else None
            builder = builder.add_extension(x509.BasicConstraints(ca=self.ca, path_length=limit), critical=True)
        if self.cert_sign is not None:
            builder = builder.add_extension(_usage(digital_signature=True, key_cert_sign=self.cert_sign), critical=True)
        if self.purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.purposes), critical=False)
        for extension, critical in self.more:
            builder = builder.add_extension(extension, critical=critical)
        self.certificate = builder.sign(by.key, self.digest)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def certify(
        self,
        name: str = "My Lab",
        *,
        valid: tuple[timedelta, timedelta] = (-DAY, DAY),
        purposes: tuple[ObjectIdentifier, ...] | None = CODE,
        signs: bool | None = True,
        more: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    ) -> Signer:
        """A signer. ``name`` is a common name, or a distinguished name. None for what its certificate does not say."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name if "=" in name else f"CN={name}", self.name, key.public_key(), valid)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if signs is not None:
            builder = builder.add_extension(_usage(digital_signature=signs, key_cert_sign=False), critical=True)
        for extension, critical in more:
            builder = builder.add_extension(extension, critical=critical)
        return Signer(key, builder.sign(self.key, hashes.SHA256()))


def _builder(subject: str, issuer: str, public_key: Any, valid: tuple[timedelta, timedelta]) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=True, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
