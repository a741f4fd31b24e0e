"""A Sigstore of one's own, without a network: an authority, a log of certificates and a log of signatures, all real.

What they must say is in the specifications of Sigstore's certificates and bundles, RFC 6962 (logs of certificates, and
their trees), and the protocol of DSSE.
"""

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

STAMPS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
PAYLOAD = b"application/vnd.in-toto+json"
ORIGIN = "log.example - 1"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(der(key)).digest()


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Sigstore:
    """Its keys. ``now`` is when things are signed and logged."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    certificate_log: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    signature_log: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __post_init__(self) -> None:
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = self._certificate("Authority", self.authority.public_key(), days=10)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        self.root = builder.sign(self.authority, hashes.SHA256())

    def write_trust(self, path: Path) -> Path:
        """What somebody needs who is to believe it."""
        start = {"start": (self.now - timedelta(days=1)).isoformat().replace("+00:00", "Z")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": text(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": start}
            return {
                "baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256", "publicKey": public,
                "logId": {"keyId": text(key_id(key))},
            }  # fmt: skip

        authority = {
            "subject": {"organization": "example", "commonName": "Authority"},
            "uri": "https://ca.example",
            "certChain": {"certificates": [{"rawBytes": text(self.root.public_bytes(Encoding.DER))}]},
            "validFor": start,
        }
        trusted = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.signature_log)],
            "certificateAuthorities": [authority],
            "ctlogs": [log(self.certificate_log)],
            "timestampAuthorities": [],
        }
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [], "oidcUrls": [], "rekorTlogUrls": [], "tsaUrls": [],
            "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"},
        }  # fmt: skip
        media_type = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        path.write_text(json.dumps({"mediaType": media_type, "trustedRoot": trusted, "signingConfig": signing}))
        return path

    def sign_as(self, identity: str, issuer: str, payload: bytes) -> bytes:
        """The bundle of a statement (in-toto) by somebody whom the issuer vouches for."""
        key = new_key()
        certificate = self._vouch(key, identity, issuer)
        signature = sign(key, b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD, len(payload), payload))
        pem = certificate.public_bytes(Encoding.PEM)
        entry = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": text(signature), "verifier": text(pem)}],
            },
        }
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": text(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self._log(json.dumps(entry).encode())],
            },
            "dsseEnvelope": {
                "payload": text(payload), "payloadType": PAYLOAD.decode(), "signatures": [{"sig": text(signature)}],
            },
        }  # fmt: skip
        return json.dumps(bundle).encode()

    def _vouch(self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str) -> x509.Certificate:
        """A certificate for some minutes, with the stamp of the log of certificates in it."""
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            self._certificate("", key.public_key(), days=0)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER, issuer.encode()), critical=False)
        )

        def stamped(stamp: bytes) -> x509.Certificate:
            wrapped = struct.pack(">HH", len(stamp) + 2, len(stamp)) + stamp
            octets = bytes([0x04, 0x81, len(wrapped)]) if len(wrapped) > 127 else bytes([0x04, len(wrapped)])
            return builder.add_extension(x509.UnrecognizedExtension(STAMPS, octets + wrapped), critical=False).sign(
                self.authority, hashes.SHA256()
            )

        bare = stamped(self._stamp(b"")).tbs_precertificate_bytes
        return stamped(self._stamp(bare))

    def _stamp(self, certificate: bytes) -> bytes:
        """That the log of certificates has seen a certificate (RFC 6962, section 3.2)."""
        at = int(self.now.timestamp() * 1000)
        length = struct.pack(">I", len(certificate))[1:]
        entry = key_id(self.authority) + length + certificate
        signature = sign(self.certificate_log, struct.pack(">BBQH", 0, 0, at, 1) + entry + struct.pack(">H", 0))
        head = struct.pack(">B32sQH", 0, key_id(self.certificate_log), at, 0)
        return head + struct.pack(">BBH", 4, 3, len(signature)) + signature

    def _log(self, body: bytes) -> dict[str, Any]:
        """An entry of the log of signatures, which holds no other: its promise, and its proof."""
        root, at = hashlib.sha256(b"\0" + body).digest(), int(self.now.timestamp())
        note = f"{ORIGIN}\n1\n{text(root)}\n"
        line = text(key_id(self.signature_log)[:4] + sign(self.signature_log, note.encode()))
        promised = {
            "body": text(body), "integratedTime": at, "logID": key_id(self.signature_log).hex(), "logIndex": 0,
        }  # fmt: skip
        canonical = json.dumps(promised, separators=(",", ":"), sort_keys=True).encode()
        return {
            "logIndex": "0",
            "logId": {"keyId": text(key_id(self.signature_log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": text(sign(self.signature_log, canonical))},
            "inclusionProof": {
                "logIndex": "0", "rootHash": text(root), "treeSize": "1", "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 {ORIGIN.split()[0]} {line}\n"},
            },
            "canonicalizedBody": text(body),
        }  # fmt: skip

    def _certificate(self, name: str, key: Any, days: int) -> x509.CertificateBuilder:
        named = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
        length = timedelta(days=days) if days else timedelta(minutes=10)
        authority = self.authority.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name(named))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority")]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - (timedelta(minutes=1) if not days else timedelta(days=1)))
            .not_valid_after(self.now + length)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        )
