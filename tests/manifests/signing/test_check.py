"""Signatures of manifests: whose they are, and of which bytes."""

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import MagnetarError, OutsideError, UsageError, WrongBytesError
from magnetar.manifests.signing.check import (
    ByCertificate,
    ByIdentity,
    ByKey,
    Signer,
    check_signature,
    hint_for_key,
    hint_in_signature,
)
from magnetar.manifests.signing.keys import MAX_KEY_BYTES
from magnetar.manifests.signing.sign import CertificateSigning, KeySigning, ManifestSigner, SigstoreSigning
from tests.manifests.signing.keys import write_certificates, write_key
from tests.manifests.signing.own_sigstore import Sigstore

MANIFEST = b'format = 1\nname = "tiny"\n'


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "lab.pem")


def public(key: Path) -> Path:
    return key.with_name(key.name + ".pub")


def by(key: Path) -> ByKey:
    return ByKey(public(key).read_bytes(), key.name)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_key_signs_just_these_bytes_and_its_public_half_says_so(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = write_key(tmp_path / "lab.pem", curve)
    tool = ManifestSigner(KeySigning(key))
    signature = tool.sign("tiny.toml", MANIFEST)
    assert tool.public_key == public(key).read_bytes()
    assert check_signature(MANIFEST, signature, by(key), "tiny.toml") == tool.signer
    assert hint_in_signature(signature) == hint_for_key(by(key))
    for other in (MANIFEST + b" ", MANIFEST[:-1], b"", MANIFEST.replace(b"tiny", b"tony")):
        with pytest.raises(WrongBytesError, match="does not hold"):
            check_signature(other, signature, by(key), "tiny.toml")


def test_the_fingerprint_is_the_one_that_openssl_prints(key: Path) -> None:
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public(key), "-outform", "DER"], capture_output=True, check=True
    )
    digest = subprocess.run(["sha256sum"], input=der.stdout, capture_output=True, check=True).stdout.split()[0].decode()
    assert str(ManifestSigner(KeySigning(key)).signer) == f"key sha256:{digest}"


def test_another_key_is_not_the_signer_whatever_the_signature_claims(tmp_path: Path, key: Path) -> None:
    stranger = write_key(tmp_path / "stranger.pem")
    forged = json.loads(ManifestSigner(KeySigning(stranger)).sign("tiny.toml", MANIFEST))
    with pytest.raises(WrongBytesError):
        check_signature(MANIFEST, json.dumps(forged).encode(), by(key), "tiny.toml")
    for hint in (hint_for_key(by(key)), None, ""):
        forged["verificationMaterial"]["publicKey"]["hint"] = hint
        with pytest.raises(WrongBytesError):
            check_signature(MANIFEST, json.dumps(forged).encode(), by(key), "tiny.toml")


def test_a_certificate_signs_for_whoever_trusts_its_root_and_nobody_else(tmp_path: Path) -> None:
    leaf, certificate, root = write_certificates(tmp_path)
    tool = ManifestSigner(CertificateSigning(leaf, certificate, (root,)))
    signature = tool.sign("tiny.toml", MANIFEST)
    signer = check_signature(MANIFEST, signature, ByCertificate((root,)), "tiny.toml")
    assert signer == tool.signer
    assert "CN=My Lab" in str(signer)
    (tmp_path / "others").mkdir()
    other = write_certificates(tmp_path / "others")
    with pytest.raises(WrongBytesError):
        check_signature(MANIFEST, signature, ByCertificate((other[2],)), "tiny.toml")
    with pytest.raises(WrongBytesError):
        check_signature(MANIFEST + b"#", signature, ByCertificate((root,)), "tiny.toml")
    with pytest.raises(UsageError, match="there is no such file"):
        ManifestSigner(CertificateSigning(leaf, certificate, (tmp_path / "absent",)))
    with pytest.raises(UsageError, match="is not the certificate of"):
        ManifestSigner(CertificateSigning(other[0], certificate, (root,)))


def test_a_signature_that_still_holds_is_known_again(tmp_path: Path, key: Path) -> None:
    leaf, certificate, root = write_certificates(tmp_path)
    for tool in (ManifestSigner(KeySigning(key)), ManifestSigner(CertificateSigning(leaf, certificate, (root,)))):
        signature = tool.sign("tiny.toml", MANIFEST)
        assert tool.is_own_signature(MANIFEST, signature)
        assert not tool.is_own_signature(MANIFEST + b"#", signature)
        assert not tool.is_own_signature(MANIFEST, b"{}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (b"x" * (MAX_KEY_BYTES + 1), "too large"),
    ],
    ids=["empty", "nonsense", "huge"],
)
def test_what_is_no_key_is_refused_with_the_reason(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        ManifestSigner(KeySigning(tmp_path / "key"))
    with pytest.raises(UsageError):
        check_signature(MANIFEST, b"{}", ByKey(content, "key"), "tiny.toml")
    with pytest.raises(UsageError):
        ManifestSigner(CertificateSigning(tmp_path / "key", tmp_path / "key"))


def test_an_encrypted_key_and_one_on_another_curve_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="encrypted"):
        ManifestSigner(KeySigning(write_key(tmp_path / "locked.pem", password=b"x")))
    with pytest.raises(UsageError, match="P-256") as caught:
        ManifestSigner(KeySigning(write_key(tmp_path / "odd.pem", ec.SECP256K1())))
    assert "prime256v1" in caught.value.hint


def test_what_is_no_signature_is_refused_and_nothing_else_happens(tmp_path: Path, key: Path) -> None:
    good = json.loads(ManifestSigner(KeySigning(key)).sign("tiny.toml", MANIFEST))
    spoiled = [
        b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"x" * (MAX_KEY_BYTES + 1),
        json.dumps(good | {"dsseEnvelope": {}}).encode(),
        json.dumps(good | {"verificationMaterial": {}}).encode(),
        json.dumps(good | {"mediaType": "text/plain"}).encode(),
        json.dumps(good | {"dsseEnvelope": good["dsseEnvelope"] | {"signatures": []}}).encode(),
        json.dumps(good | {"dsseEnvelope": good["dsseEnvelope"] | {"payload": "e30="}}).encode(),
    ]  # fmt: skip
    for signature in spoiled:
        assert hint_in_signature(signature) in ("", hint_in_signature(json.dumps(good).encode()))
        with pytest.raises(WrongBytesError):
            check_signature(MANIFEST, signature, by(key), "tiny.toml")


@settings(max_examples=60)
@given(place=st.integers(0), new=st.binary(min_size=1, max_size=4))
def test_no_damage_to_a_signature_makes_it_hold_for_other_bytes(
    tmp_path_factory: pytest.TempPathFactory, place: int, new: bytes
) -> None:
    key = write_key(tmp_path_factory.mktemp("key") / "lab.pem")
    signature = bytearray(ManifestSigner(KeySigning(key)).sign("tiny.toml", MANIFEST))
    place %= len(signature)
    signature[place : place + len(new)] = new
    with pytest.raises(MagnetarError):
        check_signature(MANIFEST + b"#", bytes(signature), by(key), "tiny.toml")


@pytest.mark.parametrize("method", ["key", "certificate"])
def test_the_tool_of_model_signing_checks_what_we_signed_and_we_check_what_it_signed(
    tmp_path: Path, method: str
) -> None:
    key = write_key(tmp_path / "lab.pem")
    leaf, certificate, root = write_certificates(tmp_path)
    manifest, ours, theirs = tmp_path / "tiny.toml", tmp_path / "ours.sig", tmp_path / "theirs.sig"
    manifest.write_bytes(MANIFEST)
    by_key = method == "key"
    tool = ManifestSigner(KeySigning(key) if by_key else CertificateSigning(leaf, certificate, (root,)))
    ours.write_bytes(tool.sign("tiny.toml", MANIFEST))

    def model_signing(verb: str, *words: object) -> str:
        command = [sys.executable, "-m", "model_signing", verb, method, str(manifest), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    trust = ("--public_key", public(key)) if by_key else ("--certificate_chain", root)
    assert "succeeded" in model_signing("verify", "--signature", ours, *trust)
    signs = (
        ("--private_key", key)
        if by_key
        else ("--private_key", leaf, "--signing_certificate", certificate, "--certificate_chain", root)
    )
    model_signing("sign", "--signature", theirs, *signs)
    expected = by(key) if by_key else ByCertificate((root,))
    assert check_signature(MANIFEST, theirs.read_bytes(), expected, "tiny.toml") == tool.signer


def test_without_a_network_sigstore_neither_signs_nor_checks_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there, and nobody outside is asked
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(OutsideError, match="Sigstore") as caught:
        ManifestSigner(SigstoreSigning())
    assert "nothing was signed or checked" in caught.value.hint
    with pytest.raises(OutsideError, match="Sigstore"):
        check_signature(MANIFEST, b"{}", ByIdentity("x@example.org", "https://issuer.example"), "tiny.toml")


WHO, VOUCHER = "lab@example.org", "https://issuer.example"


def statement_of(content: bytes, folder: Path) -> bytes:
    """What model signing states of a manifest, whoever signs it."""
    signature = ManifestSigner(KeySigning(write_key(folder / "any.pem"))).sign("tiny.toml", content)
    return base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"])


def test_an_identity_is_checked_without_a_network_where_a_file_says_whom_to_believe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    ours, other = Sigstore(), Sigstore()
    trust = ours.write_trust(tmp_path / "trust.json")
    statement = statement_of(MANIFEST, tmp_path)
    bundle = ours.sign_as(WHO, VOUCHER, statement)
    expected = ByIdentity(WHO, VOUCHER, trust)
    assert check_signature(MANIFEST, bundle, expected, "tiny.toml") == Signer("sigstore", f"{WHO} ({VOUCHER})")
    impostor, unseen = (
        replace(ours, signature_log=other.signature_log),
        replace(ours, certificate_log=other.certificate_log),
    )
    refused = [
        (MANIFEST + b"#", bundle, expected, ""),
        (MANIFEST, ours.sign_as(WHO, VOUCHER, statement_of(b"something else", tmp_path)), expected, ""),
        (MANIFEST, bundle, ByIdentity("else@example.org", VOUCHER, trust), "SANs do not match else@example.org"),
        (MANIFEST, bundle, ByIdentity(WHO, "https://another.example", trust), "OIDCIssuer does not match"),
        (MANIFEST, bundle, ByIdentity(WHO, VOUCHER, other.write_trust(tmp_path / "other.json")), "certificate chain"),
        (MANIFEST, other.sign_as(WHO, VOUCHER, statement), expected, "certificate chain"),
        (MANIFEST, impostor.sign_as(WHO, VOUCHER, statement), expected, "invalid log entry"),
        (MANIFEST, unseen.sign_as(WHO, VOUCHER, statement), expected, "SCT"),
    ]
    for content, signature, by_whom, reason in refused:
        with pytest.raises(WrongBytesError, match=f"does not hold: .*{reason}"):
            check_signature(content, signature, by_whom, "tiny.toml")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json", b"[" * 100_000, b"\xff"])
def test_a_file_that_says_nothing_of_whom_to_believe_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trust.json").write_bytes(content)
    expected = ByIdentity(WHO, VOUCHER, tmp_path / "trust.json")
    with pytest.raises(UsageError, match=r"trust\.json: says nothing"):
        check_signature(MANIFEST, b"{}", expected, "tiny.toml")
