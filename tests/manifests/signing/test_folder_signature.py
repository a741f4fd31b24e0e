"""Signatures over the files of a folder: which are believed, and what they say."""

import base64
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import MagnetarError, ManifestError, UsageError, WrongBytesError
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import ReleaseFile
from magnetar.manifests.signing.check import ByCertificate, ByIdentity, ByKey
from magnetar.manifests.signing.folder_signature import (
    MAX_FOLDER_SIGNATURE_BYTES,
    NOT_SIGNED,
    SignedFiles,
    check_folder_signature,
    files_to_sign,
    is_over_folder,
    parse_folder_signature,
    read_folder_signature,
)
from magnetar.manifests.signing.keys import load_library
from magnetar.manifests.signing.sign import CertificateSigning, KeySigning, ManifestSigner
from tests.manifests.signing.keys import write_certificates, write_key
from tests.manifests.signing.own_sigstore import Sigstore

CONTENT = {"weights": b"w" * 3000, "params.json": b"{}", "sub/tokenizer": b"t"}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "lab.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, content in CONTENT.items():
        (tmp_path / "tiny" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiny" / path).write_bytes(content)
    return tmp_path / "tiny"


def by(key: Path) -> ByKey:
    return ByKey(key.with_name(key.name + ".pub").read_bytes(), key.name)


def digests(content: dict[str, bytes] = CONTENT) -> tuple[ReleaseFile, ...]:
    return tuple(
        ReleaseFile(path=path, digests=(Digest("sha256", sha256(data).hexdigest()),))
        for path, data in sorted(content.items(), key=lambda item: Path(item[0]))
    )


def model_signing(verb: str, method: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", verb, method, str(folder), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def library_signs(folder: Path, key: Path, change: Any = None) -> bytes:
    """A signature by the library's own interface. ``change`` makes another configuration for hashing."""
    library = load_library()
    config = library.signing.Config().use_elliptic_key_signer(private_key=key)
    config.set_hashing_config(change(library.hashing.Config()) if change else library.hashing.Config())
    config.sign(folder, folder.parent / "theirs.sig")
    return (folder.parent / "theirs.sig").read_bytes()


def sign_statement(key: Path, statement: dict[str, Any]) -> bytes:
    """A signature that holds, over whatever statement."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    bundle = json.loads(ManifestSigner(KeySigning(key)).sign("x", b"x"))
    payload, kind = json.dumps(statement).encode(), b"application/vnd.in-toto+json"
    private: Any = load_pem_private_key(key.read_bytes(), None)
    signature = private.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload), ECDSA(SHA256()))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]
    return json.dumps(bundle).encode()


def statement(resources: list[Any], **serialization: Any) -> dict[str, Any]:
    told = {"method": "files", "hash_type": "sha256", "allow_symlinks": False} | serialization
    root = sha256(b"".join(bytes.fromhex(entry["digest"]) for entry in resources)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "tiny", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": told, "resources": resources},
    }


def resource(name: str, content: bytes = b"x", algorithm: str = "sha256") -> dict[str, str]:
    return {"name": name, "algorithm": algorithm, "digest": sha256(content).hexdigest()}


def test_what_the_library_signed_is_the_list_of_its_files_with_the_signer(folder: Path, key: Path) -> None:
    (folder / ".gitattributes").write_text("not signed")
    signed, signer = check_folder_signature(library_signs(folder, key), by(key), "model.sig")
    assert signed.files == digests()
    assert signed.name == "tiny"
    assert ".gitattributes" in signed.left_out
    assert signer == ManifestSigner(KeySigning(key)).signer


def test_a_list_with_blake3_is_understood_too(folder: Path, key: Path) -> None:
    signature = library_signs(folder, key, lambda config: config.use_file_serialization(hashing_algorithm="blake3"))
    signed, _signer = check_folder_signature(signature, by(key), "model.sig")
    assert {file.digests[0].algorithm for file in signed.files} == {"blake3"}


@pytest.mark.parametrize("method", ["key", "certificate"])
def test_the_tool_of_model_signing_accepts_what_we_signed_and_we_what_it_signed(
    folder: Path, key: Path, tmp_path: Path, method: str
) -> None:
    leaf, certificate, root = write_certificates(tmp_path)
    by_key = method == "key"
    tool = ManifestSigner(KeySigning(key) if by_key else CertificateSigning(leaf, certificate, (root,)))
    for path in (".gitattributes", ".git/config", ".github/x", ".magnetar/lock"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("not signed")
    content = CONTENT | {".gitattributes": b"not signed", ".github/x": b"not signed"}
    ours = folder / "model.sig"
    ours.write_bytes(tool.sign_folder(files_to_sign("tiny", digests(content))))
    trust = ("--public_key", key.with_name("lab.pem.pub")) if by_key else ("--certificate_chain", root)
    done = model_signing("verify", method, folder, "--signature", ours, *trust)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tool.is_own_folder_signature(files_to_sign("tiny", digests(content)), ours.read_bytes())
    (folder / "weights").write_bytes(b"v" * 3000)
    assert model_signing("verify", method, folder, "--signature", ours, *trust).returncode != 0
    (folder / "weights").write_bytes(CONTENT["weights"])
    ours.unlink()
    signs = (
        ("--private_key", key)
        if by_key
        else ("--private_key", leaf, "--signing_certificate", certificate, "--certificate_chain", root)
    )
    theirs = tmp_path / "theirs.sig"
    more = ("--ignore-paths", folder / ".magnetar")
    assert model_signing("sign", method, folder, "--signature", theirs, *signs, *more).returncode == 0
    expected = by(key) if by_key else ByCertificate((root,))
    signed, signer = check_folder_signature(theirs.read_bytes(), expected, "model.sig")
    assert (signed.files, signer) == (digests(), tool.signer)


def test_a_signature_is_made_without_reading_a_file(tmp_path: Path, key: Path) -> None:
    signed = files_to_sign("nowhere", digests())
    found, _signer = check_folder_signature(ManifestSigner(KeySigning(key)).sign_folder(signed), by(key), "it")
    assert found == signed == SignedFiles("nowhere", digests(), NOT_SIGNED)


def test_a_signer_that_signed_a_folder_still_signs_manifests(key: Path) -> None:
    tool = ManifestSigner(KeySigning(key))
    tool.sign_folder(files_to_sign("tiny", digests()))
    assert tool.is_own_signature(b"text", tool.sign("tiny.toml", b"text"))


def test_only_the_same_list_by_the_same_signer_is_a_signers_own(tmp_path: Path, key: Path) -> None:
    tool, signed = ManifestSigner(KeySigning(key)), files_to_sign("tiny", digests())
    signature = tool.sign_folder(signed)
    assert tool.is_own_folder_signature(signed, signature)
    assert not tool.is_own_folder_signature(files_to_sign("tiny", digests(CONTENT | {"more": b""})), signature)
    assert not tool.is_own_folder_signature(files_to_sign("tony", digests()), signature)
    assert not ManifestSigner(KeySigning(write_key(tmp_path / "other"))).is_own_folder_signature(signed, signature)
    assert not tool.is_own_folder_signature(signed, b"{}")


def test_an_identity_of_sigstore_signs_folders_too(folder: Path, key: Path, tmp_path: Path) -> None:
    payload = base64.b64decode(json.loads(library_signs(folder, key))["dsseEnvelope"]["payload"])
    sigstore = Sigstore()
    signature = sigstore.sign_as("lab@example.org", "https://issuer.example", payload)
    trust = sigstore.write_trust(tmp_path / "trust.json")
    signed, signer = check_folder_signature(
        signature, ByIdentity("lab@example.org", "https://issuer.example", trust), "it"
    )
    assert signed.files == digests()
    assert str(signer) == "sigstore lab@example.org (https://issuer.example)"
    with pytest.raises(WrongBytesError, match="does not hold"):
        check_folder_signature(signature, ByIdentity("x@example.org", "https://issuer.example", trust), "it")


def test_another_key_or_another_list_does_not_hold(tmp_path: Path, folder: Path, key: Path) -> None:
    signature = library_signs(folder, key)
    with pytest.raises(WrongBytesError, match="does not hold"):
        check_folder_signature(signature, by(write_key(tmp_path / "other")), "model.sig")
    bundle = json.loads(signature)
    told = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    told["predicate"]["resources"][0]["digest"] = "0" * 64
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(told).encode()).decode()
    with pytest.raises(WrongBytesError, match="does not hold"):
        check_folder_signature(json.dumps(bundle).encode(), by(key), "model.sig")


def test_a_list_of_the_librarys_version_0_2_is_read(key: Path) -> None:
    old = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.path, "digest": {"sha256": file.digests[0].hex}} for file in digests()],
        "predicateType": "https://model_signing/Digests/v0.1",
        "predicate": {"unused": "Unused, just passed due to API requirements"},
    }
    signature = sign_statement(key, old)
    assert is_over_folder(signature)
    assert check_folder_signature(signature, by(key), "model.sig")[0] == SignedFiles("", digests())


NOT_UNDERSTOOD: dict[str, tuple[Any, str]] = {
    "shards": (statement([resource("a:0:1")], method="shards", shard_size=1_000_000), "'shards'"),
    "another method": (statement([resource("a")], method="tensors"), "'tensors'|does not hold"),
    "another hash": (statement([resource("a")], hash_type="blake2b"), "'blake2b'"),
    "another digest": (statement([resource("a", algorithm="blake2b")]), "'blake2b'"),
    "sha1": (statement([{"name": "a", "algorithm": "sha1", "digest": "0" * 40}]), "'sha1'"),
    "an option of tomorrow": (statement([resource("a")], follow="all"), "follow"),
    "a short digest": (statement([{"name": "a", "algorithm": "sha256", "digest": "00"}]), "another length"),
    "a path out of the folder": (statement([resource("../a")]), "not a safe"),
    "an absolute path": (statement([resource("/etc/passwd")]), "not a safe"),
    "a path into the state": (statement([resource(".magnetar/origin.json")]), "not for payload"),
    "a control character": (statement([resource("a\nb")]), "not a safe"),
    "a path that is there twice": (statement([resource("a"), resource("a", b"y")]), "named twice"),
    "a path that differs in case": (statement([resource("a"), resource("A", b"y")]), "named twice"),
    "a file that is a folder too": (statement([resource("a"), resource("a/b")]), "both as a file and as a folder"),
    "no files": (statement([]), "lists no files"),
    "a name that is far too long": (
        statement([resource("a")]) | {"subject": [{"name": "x" * 3000, "digest": {"sha256": sha256(bytes.fromhex(
            resource("a")["digest"])).hexdigest()}}]}, "2000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_UNDERSTOOD)
def test_a_signed_list_that_is_not_understood_or_unsafe_is_refused_by_name(key: Path, case: str) -> None:
    told, reason = NOT_UNDERSTOOD[case]
    with pytest.raises(MagnetarError, match=reason) as caught:
        check_folder_signature(sign_statement(key, told), by(key), "model.sig")
    assert isinstance(caught.value, ManifestError | WrongBytesError)


def test_shards_that_the_library_signed_are_refused_by_name(folder: Path, key: Path) -> None:
    signature = library_signs(folder, key, lambda config: config.use_shard_serialization(shard_size=1000))
    with pytest.raises(ManifestError, match="over 'shards', and not over files") as caught:
        check_folder_signature(signature, by(key), "model.sig")
    assert "model_signing verify" in caught.value.hint


def test_a_signature_over_one_document_is_not_taken_for_one_over_a_folder(folder: Path, key: Path) -> None:
    assert is_over_folder(library_signs(folder, key))
    assert not is_over_folder(ManifestSigner(KeySigning(key)).sign("tiny.toml", b"text"))
    for content in (b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"dsseEnvelope": {"payload": "W10="}}'):
        assert not is_over_folder(content)
        with pytest.raises(ManifestError):
            parse_folder_signature(content, "model.sig")
        with pytest.raises(WrongBytesError):
            check_folder_signature(content, by(key), "model.sig")


@settings(max_examples=60)
@given(place=st.integers(0), new=st.binary(min_size=1, max_size=4))
def test_no_damage_to_a_signature_adds_or_changes_a_file(
    tmp_path_factory: pytest.TempPathFactory, place: int, new: bytes
) -> None:
    key = write_key(tmp_path_factory.mktemp("key") / "lab.pem")
    signature = bytearray(ManifestSigner(KeySigning(key)).sign_folder(files_to_sign("tiny", digests())))
    place %= len(signature)
    signature[place : place + len(new)] = new
    try:
        signed, _signer = check_folder_signature(bytes(signature), by(key), "model.sig")
    except MagnetarError:
        return
    assert signed == files_to_sign("tiny", digests())


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["predicateType", "_type", "predicate", "resources", "serialization", "subject", "name"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_statement_holds_it_is_read_or_refused(told: object) -> None:
    bundle = {"dsseEnvelope": {"payload": base64.b64encode(json.dumps(told).encode()).decode()}}
    signature = json.dumps(bundle).encode()
    assert is_over_folder(signature) in (True, False)
    with pytest.raises(ManifestError):
        parse_folder_signature(signature, "model.sig")


def test_a_file_of_a_signature_is_read_within_limits(tmp_path: Path) -> None:
    (tmp_path / "huge.sig").touch()
    with (tmp_path / "huge.sig").open("r+b") as stream:
        stream.truncate(MAX_FOLDER_SIGNATURE_BYTES + 1)
    for name in ("huge.sig", "absent.sig"):
        with pytest.raises(UsageError, match=name):
            read_folder_signature(tmp_path / name)
