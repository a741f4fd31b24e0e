"""`magnetar verify`, where somebody must have signed."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from tests.fetch.world import write_release
from tests.magnetar.conftest import Run
from tests.manifests.signing.keys import write_certificates, write_key
from tests.manifests.signing.own_sigstore import Sigstore


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "lab.pem")


@pytest.fixture
def folder(magnetar: Run, tmp_path: Path, key: Path) -> Path:
    """A folder that was published and signed."""
    folder = write_release(tmp_path / "tiny", {"weights": 70_000, "params.json": 120, "sub/tokenizer": 90})
    done = magnetar("publish", folder, "--no-tensors", "--publisher", "My Lab", "--sign", "key", "--key", key)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("lab.pem.pub")


@pytest.fixture
def manifest(folder: Path) -> Path:
    return folder.with_name("tiny.magnetar") / "tiny.toml"


def test_a_folder_that_was_signed_is_the_release_and_the_signer_is_named(
    magnetar: Run, folder: Path, public: Path
) -> None:
    shown = magnetar("verify", folder, "--public-key", public)
    assert shown.code == 0, shown.err
    assert "good: the release" in shown.out
    assert "signed by key sha256:" in shown.out
    found = magnetar("verify", folder, "--public-key", public, "--require-signature", "--json").document
    assert found["result"]["verdict"] == "the release"
    assert found["result"]["voucher"] == "a signer that the user named"
    assert "signed by key sha256:" in found["result"]["reason"]


def test_a_signature_that_nobody_asked_about_adds_no_trust_and_says_so(
    magnetar: Run, folder: Path, manifest: Path
) -> None:
    shown = magnetar("verify", folder, "--progress", "plain")
    assert shown.code == 0
    assert "good: undamaged" in shown.out
    assert "signed" not in shown.out
    assert "adds no trust" in shown.err
    assert "signed by" not in magnetar("verify", folder, "--manifest", manifest).out


def test_a_signature_by_an_unknown_key_is_never_shown_as_trust(
    magnetar: Run, folder: Path, manifest: Path, tmp_path: Path
) -> None:
    stranger = write_key(tmp_path / "stranger.pem").with_name("stranger.pem.pub")
    for words in (("--public-key", stranger), ("--require-signature",)):
        for more in ((), ("--manifest", manifest)):
            shown = magnetar("verify", folder, *words, *more)
            assert shown.code == 5
            assert "good" not in shown.out
            assert "error: " in shown.err


def test_an_unsigned_manifest_is_refused_where_a_signature_is_required(
    magnetar: Run, folder: Path, manifest: Path, public: Path, release: Path
) -> None:
    manifest.with_name("tiny.toml.sig").unlink()
    manifest.with_name("model.sig").unlink()
    for words in (("--require-signature",), ("--public-key", public)):
        shown = magnetar("verify", folder, *words)
        assert shown.code == 5
        assert "is not signed" in shown.err
    bundled = magnetar("verify", release, "--manifest", "austen-moe", "--require-signature")
    assert bundled.code == 5
    assert "not signed by its publisher" in bundled.err


def test_a_folder_that_was_tampered_with_reordered_or_extended_is_refused(
    magnetar: Run, folder: Path, public: Path, tmp_path: Path
) -> None:
    def tamper(copy: Path) -> None:
        data = bytearray((copy / "weights").read_bytes())
        data[40_000] ^= 1
        (copy / "weights").write_bytes(data)

    def reorder(copy: Path) -> None:
        (copy / "params.json").rename(copy / "x")
        (copy / "sub" / "tokenizer").rename(copy / "params.json")
        (copy / "x").rename(copy / "sub" / "tokenizer")

    def extend(copy: Path) -> None:
        (copy / "run_me.py").write_text("print()")

    def cut(copy: Path) -> None:
        (copy / "params.json").unlink()

    for number, spoil in enumerate((tamper, reorder, extend, cut)):
        home = tmp_path / str(number)
        copy = shutil.copytree(folder, home / "tiny")
        shutil.copytree(folder.with_name("tiny.magnetar"), home / "tiny.magnetar")
        assert magnetar("verify", copy, "--public-key", public).code == 0
        spoil(copy)
        shown = magnetar("verify", copy, "--public-key", public)
        assert shown.code == 5, spoil
        assert "not the release" in shown.out


@pytest.mark.parametrize("change", ["a digest", "the order", "one file less", "one file more", "a comment"])
def test_a_manifest_that_was_changed_in_any_way_is_refused(
    magnetar: Run, folder: Path, manifest: Path, public: Path, change: str
) -> None:
    text = manifest.read_text()
    head, *files = text.split("[[files]]")
    changed = {
        "a digest": text.replace("sha256:", "sha256:0", 1)[: len(text)],
        "the order": "[[files]]".join([head, *reversed(files)]),
        "one file less": "[[files]]".join([head, *files[1:]]),
        "one file more": text + '\n[[files]]\npath = "x"\n',
        "a comment": text + "# \n",
    }[change]
    manifest.write_text(changed)
    shown = magnetar("verify", folder, "--public-key", public)
    assert shown.code == 5
    assert "does not hold" in shown.err


def test_a_folders_own_manifest_counts_once_the_right_signer_signed_it(
    magnetar: Run, folder: Path, manifest: Path, public: Path
) -> None:
    shutil.copy(manifest, folder / "magnetar.toml")
    shutil.copy(manifest.with_name("tiny.toml.sig"), folder / "magnetar.toml.sig")
    shutil.rmtree(manifest.parent)
    assert "good: undamaged" in magnetar("verify", folder).out
    shown = magnetar("verify", folder, "--public-key", public, "--json").document
    unexpected = [finding["subject"] for finding in shown["result"]["findings"]]
    assert unexpected == ["magnetar.toml.sig"]


def test_a_certificate_is_believed_by_its_root(magnetar: Run, folder: Path, tmp_path: Path) -> None:
    leaf, certificate, root = write_certificates(tmp_path)
    words = ("--sign", "certificate", "--key", leaf, "--certificate", certificate, "--chain", root)
    assert magnetar("publish", folder, "--no-tensors", *words).code == 0
    shown = magnetar("verify", folder, "--certificate", root)
    assert shown.code == 0, shown.err
    assert "signed by certificate CN=My Lab" in shown.out
    for words, code in (
        (("--subject", "My Lab"), 0),
        (("--subject", "CN=My Lab", "--issuer", "Root"), 0),
        (("--subject", "Your Lab"), 5),
        (("--subject", "My Lab", "--issuer", "Another"), 5),
    ):
        shown = magnetar("verify", folder, "--certificate", root, *words)
        assert shown.code == code
        assert ("and not by" in shown.err) == (code == 5)
    (tmp_path / "others").mkdir()
    assert magnetar("verify", folder, "--certificate", write_certificates(tmp_path / "others")[2]).code == 5


def test_an_identity_is_believed_by_a_file_of_whom_to_trust_and_no_server_is_asked(
    magnetar: Run, folder: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    signature = manifest.with_name("tiny.toml.sig")
    statement = base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"])
    sigstore = Sigstore()
    signature.write_bytes(sigstore.sign_as("lab@example.org", "https://issuer.example", statement))
    words = ("verify", folder, "--identity", "lab@example.org", "--issuer", "https://issuer.example")
    shown = magnetar(*words, "--trust-config", sigstore.write_trust(tmp_path / "trust.json"))
    assert shown.code == 0, shown.err
    assert "good: the release" in shown.out
    assert "signed by sigstore lab@example.org (https://issuer.example)" in shown.out
    alone = magnetar(*words)
    assert alone.code == 4
    assert "--trust-config" in alone.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--trust-config", "{tmp}/lab.pem"), 2),
        (("--identity", "x@example.org", "--issuer", "https://e.org", "--trust-config", "{tmp}/absent"), 2),
        (("--identity", "x@example.org", "--issuer", "https://e.org", "--trust-config", "{tmp}/lab.pem"), 2),
        (("--public-key", "{tmp}/absent"), 2),
        (("--public-key", "{tmp}/lab.pem"), 2),
        (("--certificate", "{tmp}/absent"), 2),
        (("--certificate", "{tmp}/lab.pem"), 2),
        (("--identity", "x@example.org"), 2),
        (("--issuer", "https://example.org"), 2),
        (("--subject", "My Lab"), 2),
        (("--subject", "My Lab", "--public-key", "{tmp}/lab.pem.pub"), 2),
        (("--issuer", "Root", "--public-key", "{tmp}/lab.pem.pub"), 2),
        (("--public-key", "{tmp}/lab.pem.pub", "--certificate", "{tmp}/lab.pem.pub"), 2),
        (("--public-key", "{tmp}/lab.pem.pub", "--signature", "{tmp}/absent"), 5),
        (("--public-key", "{tmp}/lab.pem.pub", "--signature", "{tmp}/lab.pem"), 5),
        (("--public-key", "{tmp}/lab.pem.pub", "--manifest", "{tmp}/absent.toml"), 2),
        (("--public-key", "{tmp}/lab.pem.pub", "--manifest", "{tmp}/lab.pem"), 5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_does_not_go_together_is_refused(
    magnetar: Run, folder: Path, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    shown = magnetar("verify", folder, *(word.replace("{tmp}", str(tmp_path)) for word in words), "--json")
    assert shown.code == code, shown.out
    assert json.loads(shown.out)["error"]["message"]


def test_a_signature_over_the_folders_files_proves_them_and_leaves_others_unchecked(
    magnetar: Run, folder: Path, manifest: Path, public: Path
) -> None:
    for name in ("tiny.toml.sig", "tiny.toml"):
        manifest.with_name(name).unlink()
    found = magnetar("verify", folder, "--public-key", public, "--json")
    assert found.code == 0, found.out
    assert found.document["result"]["voucher"] == "a signer that the user named"
    (folder / "modeling_evil.py").write_text("import os")
    shown = magnetar("verify", folder, "--public-key", public)
    assert shown.code == 8
    assert "modeling_evil.py" in shown.out
    assert magnetar("verify", folder, "--public-key", public, "--strict").code == 5
