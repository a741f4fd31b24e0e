"""Certificates of signers: which are believed, and what is said of the others."""

import base64
import json
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import MagnetarError, UsageError, WrongBytesError
from magnetar.manifests.signing.certificates import (
    MAX_CERTIFICATES,
    MAX_ROOTS,
    CertificateDemand,
    chain_in_signature,
    load_roots,
    reason_against,
)
from magnetar.manifests.signing.check import ByCertificate, ByIdentity, Signer, check_signature
from magnetar.manifests.signing.keys import load_library, unreadable
from magnetar.manifests.signing.sign import CertificateSigning, ManifestSigner
from tests.effort import measured_effort
from tests.manifests.signing import keys
from tests.manifests.signing.keys import CODE, DAY, Authority
from tests.manifests.signing.own_sigstore import Sigstore

MANIFEST = b'format = 1\nname = "tiny"\n'
YEAR = timedelta(days=365)
TLS = ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
ROOT = Authority()


def chain_of(signer: keys.Signer, authority: Authority) -> list[x509.Certificate]:
    """The signer's certificate, and each above it."""
    chain = [signer.certificate]
    above: Authority | None = authority
    while above is not None:
        chain.append(above.certificate)
        above = above.above
    return chain


def judge(signer: keys.Signer, authority: Authority = ROOT, subject: str = "", issuer: str = "") -> str:
    """The reason against a signer, whose chain ends in the root that is trusted."""
    chain = chain_of(signer, authority)
    return reason_against(chain, chain[-1:], CertificateDemand(subject, issuer), datetime.now(UTC))


def library_signs(folder: Path, signer: keys.Signer, authority: Authority) -> bytes:
    """A signature as ``model_signing`` makes it, which looks at nothing but the key."""
    key, leaf = signer.write(folder / "key.pem", folder / "leaf.crt")
    chain = folder / "chain.crt"
    chain.write_bytes(b"".join(made.public_bytes(Encoding.PEM) for made in chain_of(signer, authority)[1:]))
    (folder / "tiny.toml").write_bytes(MANIFEST)
    config = load_library().signing.Config()
    config.use_certificate_signer(private_key=key, signing_certificate=leaf, certificate_chain=[chain])
    config.sign(folder / "tiny.toml", folder / "signature")
    return (folder / "signature").read_bytes()


def library_accepts(folder: Path, root: Path) -> bool:
    config = load_library().verifying.Config().use_certificate_verifier(certificate_chain=[root])
    try:
        config.verify(folder / "tiny.toml", folder / "signature")
    except Exception:
        return False
    return True


def deep(count: int, **options: Any) -> Authority:
    """An authority below a root and ``count - 1`` others. The options are the root's."""
    authority = Authority(**options)
    for number in range(count):
        authority = Authority(f"CN=Authority {number}", authority)
    return authority


GOOD = {
    "directly under the root": (ROOT.certify(), ROOT),
    "two authorities between": (None, deep(2)),
    "as many authorities as the root allows": (None, deep(2, path_length=2)),
    "for TLS as well": (ROOT.certify(purposes=(TLS, *CODE)), ROOT),
    "an authority for code": (None, Authority("CN=Code", ROOT, purposes=CODE)),
    "an authority for any purpose": (None, Authority("CN=Any", ROOT, purposes=(ANY,))),
    "an authority that does not say what its key is for": (None, Authority("CN=Silent", ROOT, cert_sign=None)),
    "a root with an RSA key": (None, Authority(key=rsa.generate_private_key(65537, 2048))),
    "an extension that need not be understood": (
        ROOT.certify(more=((x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),)), ROOT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_a_certificate_that_is_in_order_is_believed(case: str) -> None:
    signer, authority = GOOD[case]
    assert judge(signer or authority.certify(), authority) == ""


LIMITED = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.org")], excluded_subtrees=None)
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
BAD: dict[str, tuple[Any, Authority, str]] = {
    "expired": ({"valid": (-9 * YEAR, -8 * YEAR)}, ROOT, r"'CN=My Lab' expired on \d{4}-\d\d-\d\d"),
    "expired an hour ago": ({"valid": (-DAY, -timedelta(hours=1))}, ROOT, "expired on"),
    "not valid yet": ({"valid": (4 * YEAR, 5 * YEAR)}, ROOT, r"'CN=My Lab' is not valid before \d{4}-\d\d"),
    "made for TLS": ({"purposes": (TLS,)}, ROOT, "'CN=My Lab' was made for serverAuth, and not for codeSigning"),
    "made for anything": ({"purposes": (ANY,)}, ROOT, "anyExtendedKeyUsage"),
    "made for something odd": ({"purposes": (ObjectIdentifier("1.2.3"),)}, ROOT, r"made for 1\.2\.3, and not"),
    "made for nothing": ({"purposes": None}, ROOT, "does not say that it is for signing code"),
    "not for signatures": ({"signs": False}, ROOT, "lacks digitalSignature"),
    "no key usage": ({"signs": None}, ROOT, "lacks digitalSignature"),
    "a critical extension": ({"more": ((UNKNOWN, True),)}, ROOT, r"does not judge: 1\.2\.3\.4"),
    "an expired root": ({}, Authority(valid=(-2 * YEAR, -YEAR)), "'CN=Root' expired"),
    "a root of the future": ({}, Authority(valid=(YEAR, 2 * YEAR)), "'CN=Root' is not valid before"),
    "an expired authority": ({}, Authority("CN=Old", ROOT, valid=(-2 * YEAR, -YEAR)), "'CN=Old' expired"),
    "an issuer that is none": ({}, Authority("CN=Leaf", ROOT, ca=False), "'CN=Leaf' may not issue certificates"),
    "an issuer that does not say": ({}, Authority("CN=Leaf", ROOT, ca=None), "'CN=Leaf' may not issue certificates"),
    "a root that is no authority": ({}, Authority(ca=False), "'CN=Root' may not issue certificates"),
    "an authority for lists only": ({}, Authority("CN=Lists", ROOT, cert_sign=False), "lacks keyCertSign"),
    "too many authorities": ({}, deep(2, path_length=1), "allows 1 authorities below it, and not 2"),
    "an authority for TLS": ({}, Authority("CN=Web", ROOT, purposes=(TLS,)), "'CN=Web' is an authority for serverAuth"),
    "limits on names": ({}, Authority("CN=Some", ROOT, more=((LIMITED, True),)), "NameConstraints"),
    "limits on names, not critical": ({}, Authority("CN=Some", ROOT, more=((LIMITED, False),)), "NameConstraints"),
    "a short RSA key": ({}, Authority("CN=Short", ROOT, key=rsa.generate_private_key(65537, 1024)), "1024 bits"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_certificate_that_is_not_in_order_is_refused_and_what_is_wrong_is_named(case: str) -> None:
    options, authority, reason = BAD[case]
    found = judge(authority.certify(**options), authority)
    assert re.search(reason, found), found


def test_a_certificate_that_was_signed_with_sha_1_is_refused(tmp_path: Path) -> None:
    key, root = keys.Signer(ROOT.key, ROOT.certificate).write(tmp_path / "root.pem", tmp_path / "root.crt")
    own = keys.write_key(tmp_path / "own.pem")
    (tmp_path / "extensions").write_text("keyUsage=digitalSignature\nextendedKeyUsage=codeSigning\n")
    found = {}
    for digest in ("sha1", "sha256"):
        request = subprocess.run(
            ["openssl", "req", "-new", "-key", own, "-subj", "/CN=My Lab"], capture_output=True, check=True
        ).stdout
        words = ["openssl", "x509", "-req", "-CA", root, "-CAkey", key, "-CAcreateserial", f"-{digest}", "-days", "9"]
        words += ["-extfile", tmp_path / "extensions"]
        made = subprocess.run(words, input=request, capture_output=True, check=True).stdout
        leaf = x509.load_pem_x509_certificate(made)
        found[digest] = reason_against([leaf], [ROOT.certificate], CertificateDemand(), datetime.now(UTC) + DAY / 2)
    assert found["sha256"] == ""
    assert found["sha1"] != ""


def test_one_way_that_is_in_order_is_enough_whatever_the_order_of_the_certificates() -> None:
    """Two authorities of one name and key, of which one has expired: as after it was renewed."""
    old = Authority("CN=Middle", ROOT, valid=(-2 * YEAR, -YEAR))
    new = Authority("CN=Middle", ROOT, key=old.key)
    signer = new.certify()
    for between in ([old, new], [new, old]):
        chain = [signer.certificate, *(authority.certificate for authority in between)]
        assert reason_against(chain, [ROOT.certificate], CertificateDemand(), datetime.now(UTC)) == ""
    alone = [signer.certificate, old.certificate]
    assert "expired" in reason_against(alone, [ROOT.certificate], CertificateDemand(), datetime.now(UTC))


def test_a_certificate_under_another_root_of_the_same_name_leads_nowhere() -> None:
    chain = chain_of(ROOT.certify(), ROOT)
    reason = reason_against(chain, [Authority().certificate], CertificateDemand(), datetime.now(UTC))
    assert "leads to none of the certificates that you trust" in reason


def test_a_certificate_that_is_trusted_itself_needs_no_authority() -> None:
    leaf = ROOT.certify().certificate
    assert reason_against([leaf], [leaf], CertificateDemand(), datetime.now(UTC)) == ""


def test_authorities_that_all_vouch_for_each_other_take_no_long_time() -> None:
    """Each two of them make a step, so there are thousands of ways; only so many are tried."""
    first = Authority("CN=Ring")
    ring = [Authority("CN=Ring", first, key=first.key) for _ in range(MAX_CERTIFICATES - 1)]
    chain = [first.certify().certificate, *(authority.certificate for authority in ring)]
    other = Authority("CN=Ring", valid=(-2 * YEAR, -YEAR), key=first.key)
    assert "expired" in reason_against(chain, [other.certificate], CertificateDemand(), datetime.now(UTC))


def test_authorities_that_vouch_for_each_other_and_lead_nowhere_take_no_long_time() -> None:
    first = Authority("CN=Ring")
    ring = [Authority("CN=Ring", first, key=first.key) for _ in range(MAX_CERTIFICATES - 1)]
    chain = [first.certify().certificate, *(authority.certificate for authority in ring)]
    roots = [Authority(f"CN=Root {number}", key=ROOT.key).certificate for number in range(100)]
    with measured_effort() as effort:
        reason = reason_against(chain, roots, CertificateDemand(), datetime.now(UTC))
    assert "leads to none" in reason
    assert effort.units < 200


def changed(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    content = certificate.public_bytes(Encoding.DER)
    assert content.count(old) == 1
    return x509.load_der_x509_certificate(content.replace(old, new))


def test_a_certificate_with_an_extension_that_is_there_twice_or_damaged_is_refused() -> None:
    """Nobody would sign such a one, so it is trusted itself."""
    first, second = (x509.UnrecognizedExtension(ObjectIdentifier(f"1.2.3.4.{last}"), b"") for last in (5, 6))
    twice = changed(
        ROOT.certify(more=((first, False), (second, False))).certificate, b"\x2a\x03\x04\x06", b"\x2a\x03\x04\x05"
    )
    names = x509.SubjectAlternativeName([x509.RFC822Name("lab@example.org")])
    damaged = changed(ROOT.certify(more=((names, False),)).certificate, b"\x81\x0flab@", b"\x9f\x0flab@")
    for leaf in (twice, damaged):
        assert "cannot be read" in reason_against([leaf], [leaf], CertificateDemand("x"), datetime.now(UTC))
        assert "cannot be read" in reason_against([leaf], [leaf], CertificateDemand(), datetime.now(UTC))


NAMED = ROOT.certify(
    "CN=My Lab,OU=Weights,O=Example",
    more=((x509.SubjectAlternativeName([x509.RFC822Name("lab@example.org"), x509.DNSName("lab.example"),
                                        x509.UniformResourceIdentifier("https://example.org/?a=b")]), False),),
)  # fmt: skip


@pytest.mark.parametrize(
    "subject",
    ["My Lab", "CN=My Lab", "O=Example,CN=My Lab", "CN=My Lab,OU=Weights,O=Example", "O=Example", "lab@example.org",
     "lab.example", "https://example.org/?a=b"],
)  # fmt: skip
def test_a_subject_is_a_common_name_a_part_of_the_distinguished_name_or_an_alternative_name(subject: str) -> None:
    assert judge(NAMED, subject=subject, issuer="Root") == ""
    assert judge(NAMED, subject=subject, issuer="CN=Root") == ""


@pytest.mark.parametrize(
    "subject",
    ["My", "my lab", "My Lab ", "Lab", "Example", "Weights", "CN=My", "CN=My Lab,O=Other", "CN=My Lab,CN=My Lab",
     "C=DE", "O=My Lab", "example.org", "LAB@example.org", "*"],
)  # fmt: skip
def test_a_name_that_is_only_alike_is_another(subject: str) -> None:
    reason = judge(NAMED, subject=subject)
    assert repr(subject) in reason
    assert "CN=My Lab,OU=Weights,O=Example" in reason


def test_the_issuer_is_the_one_that_the_certificate_names() -> None:
    below = Authority("CN=Middle", ROOT)
    assert judge(below.certify(), below, issuer="Middle") == ""
    assert "'CN=Middle', and not by 'Root'" in judge(below.certify(), below, issuer="Root")


def test_a_subject_with_two_common_names_is_not_known_by_one_of_them() -> None:
    assert judge(ROOT.certify("CN=My Lab,CN=Other"), subject="My Lab") != ""


def test_a_distinguished_name_that_cannot_be_read_is_an_error_of_usage() -> None:
    with pytest.raises(UsageError, match="distinguished name"):
        judge(NAMED, subject="x@=3")


@pytest.mark.parametrize("case", BAD)
def test_what_the_library_lets_pass_is_refused_by_us(tmp_path: Path, case: str) -> None:
    options, authority, reason = BAD[case]
    signature = library_signs(tmp_path, authority.certify(**options), authority)
    while authority.above:
        authority = authority.above
    root = authority.write(tmp_path / "root.crt")
    with pytest.raises(WrongBytesError, match="does not hold") as caught:
        check_signature(MANIFEST, signature, ByCertificate((root,)), "tiny.toml")
    if library_accepts(tmp_path, root):
        assert re.search(reason, caught.value.message)


@pytest.mark.parametrize("case", ["expired", "not valid yet", "made for TLS"])
def test_the_library_alone_accepts_the_three_that_started_this(tmp_path: Path, case: str) -> None:
    """Once it does not, our check is a second one."""
    options, authority, _reason = BAD[case]
    authority = Authority(valid=(-10 * YEAR, 10 * YEAR))
    library_signs(tmp_path, authority.certify(**options), authority)
    assert library_accepts(tmp_path, authority.write(tmp_path / "root.crt"))


def test_the_name_of_the_signer_is_demanded_of_a_signature(tmp_path: Path) -> None:
    signature = library_signs(tmp_path, NAMED, ROOT)
    root = ROOT.write(tmp_path / "root.crt")
    demand = CertificateDemand("CN=My Lab,O=Example", "CN=Root")
    signer = check_signature(MANIFEST, signature, ByCertificate((root,), demand), "tiny.toml")
    assert signer.kind == "certificate"
    assert signer.name.startswith("CN=My Lab,OU=Weights,O=Example sha256:")
    for other in (replace(demand, subject="Your Lab"), replace(demand, issuer="Other")):
        with pytest.raises(WrongBytesError, match="and not by"):
            check_signature(MANIFEST, signature, ByCertificate((root,), other), "tiny.toml")


def test_a_subject_with_line_breaks_is_named_in_one_line(tmp_path: Path) -> None:
    signer = ROOT.certify("CN=My Lab\ngood: the release\u202e\x1b[31m")
    signature = library_signs(tmp_path, signer, ROOT)
    root = ROOT.write(tmp_path / "root.crt")
    found = check_signature(MANIFEST, signature, ByCertificate((root,)), "tiny.toml")
    assert str(found).startswith(r"certificate CN=My Lab\ngood: the release\u202e\x1b[31m sha256:")
    assert str(found).isprintable()
    key, leaf = signer.write(tmp_path / "own.pem", tmp_path / "own.crt")
    assert ManifestSigner(CertificateSigning(key, leaf, (root,))).signer == found


def test_the_certificates_of_another_do_not_make_a_signature_theirs(tmp_path: Path) -> None:
    """The chain of a good signer, on a signature by a certificate for TLS of the same root."""
    (tmp_path / "good").mkdir()
    good = json.loads(library_signs(tmp_path / "good", ROOT.certify(), ROOT))
    bad = json.loads(library_signs(tmp_path, ROOT.certify(purposes=(TLS,)), ROOT))
    root = ROOT.write(tmp_path / "root.crt")
    for name in ("x509CertificateChain", "x509_certificate_chain"):
        for take_out in (True, False):
            material = dict(bad["verificationMaterial"])
            if take_out:
                material.pop("x509CertificateChain")
            material[name] = good["verificationMaterial"]["x509CertificateChain"]
            spoiled = json.dumps(bad | {"verificationMaterial": material}).encode()
            with pytest.raises(WrongBytesError):
                check_signature(MANIFEST, spoiled, ByCertificate((root,)), "tiny.toml")


@pytest.mark.parametrize(
    "listed",
    [[], [{}], None, 7, {"a": 1}, [None], [{"rawBytes": 7}], [{"rawBytes": "AAAA"}], [{"rawBytes": "not base 64!"}],
     [{"rawBytes": "AAAA"}] * (MAX_CERTIFICATES + 1)],
    ids=str,
)  # fmt: skip
def test_a_signature_without_certificates_that_can_be_read_is_refused(listed: object) -> None:
    signature = {"verificationMaterial": {"x509CertificateChain": {"certificates": listed}}}
    with pytest.raises(unreadable()):
        chain_in_signature(json.dumps(signature).encode())


@pytest.mark.filterwarnings("ignore::UserWarning")  # cryptography warns of what it will refuse one day
@settings(max_examples=300)
@given(place=st.integers(0), new=st.binary(min_size=1, max_size=3))
def test_no_damage_to_a_certificate_is_more_than_a_refusal(place: int, new: bytes) -> None:
    content = bytearray(NAMED.certificate.public_bytes(Encoding.DER))
    place %= len(content)
    content[place : place + len(new)] = new
    raw = [
        {"rawBytes": base64.b64encode(data).decode()}
        for data in (bytes(content), ROOT.certificate.public_bytes(Encoding.DER))
    ]
    bundle = json.dumps({"verificationMaterial": {"x509CertificateChain": {"certificates": raw}}}).encode()
    try:
        chain = chain_in_signature(bundle)
    except unreadable():
        return
    reason = reason_against(chain, [ROOT.certificate], CertificateDemand("My Lab"), datetime.now(UTC))
    assert reason or chain[0] == NAMED.certificate
    assert isinstance(reason_against(chain, chain[:1], CertificateDemand("My Lab"), datetime.now(UTC)), str)


def test_roots_are_read_within_limits() -> None:
    pem = ROOT.certificate.public_bytes(Encoding.PEM)
    assert load_roots(pem * 3, "roots") == (ROOT.certificate,) * 3
    for content in (b"", b"no certificate", pem[:200], pem * (MAX_ROOTS + 1)):
        with pytest.raises(UsageError, match="roots"):
            load_roots(content, "roots")


@pytest.mark.parametrize("case", ["expired", "not valid yet", "made for TLS", "no key usage"])
def test_nothing_is_signed_with_a_certificate_that_nobody_would_believe(tmp_path: Path, case: str) -> None:
    options, authority, reason = BAD[case]
    key, leaf = authority.certify(**options).write(tmp_path / "key.pem", tmp_path / "leaf.crt")
    with pytest.raises(UsageError, match=reason):
        ManifestSigner(CertificateSigning(key, leaf, (authority.write(tmp_path / "root.crt"),)))


def test_a_certificate_of_sigstore_counts_at_the_time_that_its_log_states(tmp_path: Path) -> None:
    """It was valid for ten minutes, three years ago. So was its root, for some days."""
    (tmp_path / "tiny.toml").write_bytes(MANIFEST)
    payload = statement(tmp_path)
    long_ago = Sigstore(now=datetime.now(UTC).replace(microsecond=0) - 3 * YEAR)
    expected = ByIdentity("lab@example.org", "https://issuer.example", long_ago.write_trust(tmp_path / "trust.json"))
    signature = long_ago.sign_as("lab@example.org", "https://issuer.example", payload)
    assert check_signature(MANIFEST, signature, expected, "tiny.toml") == Signer(
        "sigstore", "lab@example.org (https://issuer.example)"
    )


def test_a_signature_that_sigstore_logged_after_the_certificate_had_expired_does_not_hold(tmp_path: Path) -> None:
    class Late(Sigstore):
        def _log(self, body: bytes) -> dict[str, Any]:
            self.now += timedelta(hours=1)
            return super()._log(body)

    (tmp_path / "tiny.toml").write_bytes(MANIFEST)
    late = Late(now=datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2))
    expected = ByIdentity("lab@example.org", "https://issuer.example", late.write_trust(tmp_path / "trust.json"))
    signature = late.sign_as("lab@example.org", "https://issuer.example", statement(tmp_path))
    with pytest.raises(MagnetarError, match="does not hold"):
        check_signature(MANIFEST, signature, expected, "tiny.toml")


def statement(folder: Path) -> bytes:
    """What ``model_signing`` would sign of the manifest."""
    signature = library_signs(folder, ROOT.certify(), ROOT)
    return base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"])
