"""`magnetar catalog add`: signed manifests from a file or a server, each by the signer it was first seen with."""

import shutil
from pathlib import Path

import pytest

from magnetar.manifests.user_catalog import read_pins
from tests.fetch.mirror_world import mirror_server
from tests.fetch.world import contents, serve, write_release
from tests.magnetar.conftest import Run
from tests.manifests.signing.keys import Authority, Signer, write_certificates, write_key


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where this test's own part of the catalog is."""
    monkeypatch.setenv("MAGNETAR_CATALOG", str(tmp_path / "catalog"))
    return tmp_path / "catalog"


def published(
    magnetar: Run, home: Path, key: Path | None, name: str = "tiny", publisher: str = "My Lab", seed: int = 7
) -> Path:
    """The manifest of a small release that was published in ``home``."""
    folder = write_release(home / name, {"weights": 70_000, "params.json": 120}, seed=seed)
    sign = () if key is None else ("--sign", "key", "--key", key)
    done = magnetar("publish", folder, "--no-tensors", "--publisher", publisher, *sign)
    assert done.code == 0, done.err
    return home / f"{name}.magnetar" / f"{name}.toml"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "lab.pem")


def test_a_signed_release_is_added_listed_shown_and_used_by_its_name(
    magnetar: Run, tmp_path: Path, key: Path, mine: Path
) -> None:
    manifest = published(magnetar, tmp_path, key)
    added = magnetar("catalog", "add", manifest)
    assert added.code == 0, added.err
    assert "seen for the first time" in added.out
    assert "signed by key sha256:" in added.out
    listed = magnetar("catalog", "list").out
    assert "added by you" in listed
    assert listed.index("mixtral-8x7b-v0.1") < listed.index("tiny")
    shown = magnetar("catalog", "show", "tiny").out
    assert f"added from {manifest}" in shown
    assert "signed by key sha256:" in shown
    assert (mine / "tiny.toml").read_bytes() == manifest.read_bytes()
    verified = magnetar("verify", tmp_path / "tiny", "--manifest", "tiny", "--require-signature")
    assert verified.code == 0, verified.err
    assert "good: the release" in verified.out
    assert "signed by key" in verified.out
    assert magnetar("inspect", "tiny").code == 0


def test_a_changed_signer_is_refused_for_the_release_and_for_its_publishers_others(
    magnetar: Run, tmp_path: Path, key: Path, mine: Path
) -> None:
    assert magnetar("catalog", "add", published(magnetar, tmp_path, key)).code == 0
    before = contents(mine)
    stranger = write_key(tmp_path / "stranger.pem")
    for number, (name, publisher) in enumerate((("tiny", "My Lab"), ("other", "  my LAB"), ("tiny", "Somebody"))):
        forged = published(magnetar, tmp_path / str(number), stranger, name, publisher, seed=number)
        refused = magnetar("catalog", "add", forged)
        assert refused.code == 5, (name, publisher)
        assert "--forget-signer" in refused.err
        named = magnetar("catalog", "add", forged, "--public-key", forged.with_name(f"{name}.toml.pub"))
        assert named.code == 5
    assert contents(mine) == before
    again = published(magnetar, tmp_path / "again", key, seed=9)
    replaced = magnetar("catalog", "add", again)
    assert replaced.code == 0, replaced.err
    assert "replaced" in replaced.out
    assert "first time" not in replaced.out
    second = magnetar("catalog", "add", published(magnetar, tmp_path / "second", key, "second", seed=4))
    assert second.code == 0
    assert "first time" not in second.out


def test_a_new_signer_is_believed_once_the_user_has_forgotten_the_old_one(
    magnetar: Run, tmp_path: Path, key: Path, mine: Path
) -> None:
    manifest = published(magnetar, tmp_path, key)
    assert magnetar("catalog", "add", manifest).code == 0
    assert magnetar("catalog", "remove", "tiny").code == 0
    assert "tiny" not in magnetar("catalog").out
    rotated = published(magnetar, tmp_path / "new", write_key(tmp_path / "new.pem"))
    assert magnetar("catalog", "add", rotated).code == 5
    assert magnetar("catalog", "remove", "tiny", "--forget-signer").code == 0
    assert read_pins().releases == {}
    assert magnetar("catalog", "add", rotated).code == 0
    assert magnetar("catalog", "remove", "nonsense").code == 2
    assert magnetar("catalog", "remove", "austen-moe").code == 2


def test_what_is_unsigned_or_tampered_with_is_not_added(magnetar: Run, tmp_path: Path, key: Path, mine: Path) -> None:
    manifest = published(magnetar, tmp_path, None)
    refused = magnetar("catalog", "add", manifest)
    assert refused.code == 5
    assert "is not signed" in refused.err
    signed = published(magnetar, tmp_path / "signed", key)
    signed.write_text(signed.read_text().replace("My Lab", "My Cab"))
    assert magnetar("catalog", "add", signed).code == 5
    other = published(magnetar, tmp_path / "other", key)
    other.with_name("tiny.toml.pub").unlink()
    assert "by whom is not said" in magnetar("catalog", "add", other).err
    assert magnetar("catalog", "add", other, "--public-key", tmp_path / "lab.pem.pub").code == 0
    assert {path.name for path in mine.glob("*.toml")} == {"tiny.toml"}


def test_a_bundled_release_is_not_shadowed_by_its_name_or_its_infohash(
    magnetar: Run, tmp_path: Path, key: Path, mine: Path
) -> None:
    taken = published(magnetar, tmp_path, key, "austen-moe")
    refused = magnetar("catalog", "add", taken)
    assert refused.code == 2
    assert "ships with Magnetar" in refused.err
    (mine).mkdir(exist_ok=True)
    shutil.copy(taken, mine / "austen-moe.toml")
    assert magnetar("catalog", "show", "austen-moe").out.startswith("Austen MoE")
    from magnetar.manifests.catalog import find_release

    claimed = published(magnetar, tmp_path, None, "claims")
    lines = claimed.read_text().splitlines()
    wanted = find_release("mixtral-8x7b-v0.1").infohash_v1
    text = "\n".join(f'infohash_v1 = "{wanted}"' if line.startswith("infohash_v1") else line for line in lines)
    claimed.write_text(text)
    assert "infohash" in magnetar("catalog", "add", claimed).err


def test_side_files_come_along_if_they_are_the_ones_that_are_pinned(
    magnetar: Run, tmp_path: Path, release: Path, key: Path, mine: Path
) -> None:
    from magnetar.model.bundled import bundled_golden

    folder = release.rename(tmp_path / "mine")
    words = ("--golden", bundled_golden(), "--sign", "key", "--key", key)
    assert magnetar("publish", folder, *words).code == 0
    manifest = tmp_path / "mine.magnetar" / "mine.toml"
    assert magnetar("catalog", "add", manifest).code == 0
    assert {"mine.tensors.json", "mine.golden.safetensors"} <= set(contents(mine))
    converted = tmp_path / "converted"
    assert magnetar("convert", folder, converted, "--to", "hf").code == 0
    assert "bit for bit" in magnetar("verify", converted, "--manifest", "mine").out
    (manifest.parent / "mine.tensors.json").write_bytes(b"{}")
    assert magnetar("catalog", "add", manifest).code == 5
    (manifest.parent / "mine.tensors.json").unlink()
    assert "not beside the manifest" in magnetar("catalog", "add", manifest, "--progress", "plain").err


def test_a_release_is_added_from_a_server_and_what_is_not_there_is_said(
    magnetar: Run, tmp_path: Path, key: Path, mine: Path
) -> None:
    manifest = published(magnetar, tmp_path, key)
    files = contents(manifest.parent)
    with mirror_server(files) as server:
        url = server.url
        added = magnetar("catalog", "add", f"{url}/tiny.toml", "--progress", "plain")
        assert added.code == 0, added.err
        assert "plain http" in added.err
        assert magnetar("catalog", "show", "tiny", "--json").document["result"]["source"] == f"{url}/tiny.toml"
        assert magnetar("catalog", "add", f"{url}/absent.toml").code == 4
        del files["tiny.toml.sig"]
        assert magnetar("catalog", "add", f"{url}/tiny.toml").code == 5
        files["huge.toml"] = b"#" * ((1 << 20) + 1)
        assert magnetar("catalog", "add", f"{url}/huge.toml").code == 3
        files["hostile.toml"] = manifest.read_bytes().replace(b'path = "w', b'path = "../w')
        assert magnetar("catalog", "add", f"{url}/hostile.toml").code == 3
    assert magnetar("catalog", "add", f"{url}/tiny.toml").code == 4


def test_a_release_that_was_added_is_fetched_by_its_name_and_proven_by_its_signed_manifest(
    magnetar: Run, tmp_path: Path, key: Path
) -> None:
    assert magnetar("catalog", "add", published(magnetar, tmp_path, key)).code == 0
    with serve(tmp_path / "tiny") as seeding:
        words = ("--loopback", "--peer", f"127.0.0.1:{seeding.port}", "--dir", tmp_path / "new")
        fetched = magnetar("fetch", "tiny", *words)
    assert fetched.code == 0, fetched.err
    shown = magnetar("verify", tmp_path / "new" / "tiny", "--require-signature")
    assert shown.code == 0, shown.err
    assert "good: the release" in shown.out
    assert "signed by key" in shown.out


def test_a_certificates_signer_is_pinned_too(magnetar: Run, tmp_path: Path, key: Path) -> None:
    folder = write_release(tmp_path / "tiny", {"weights": 70_000})
    leaf, certificate, root = write_certificates(tmp_path)
    words = ("--sign", "certificate", "--key", leaf, "--certificate", certificate, "--chain", root)
    assert magnetar("publish", folder, "--no-tensors", "--publisher", "My Lab", *words).code == 0
    manifest = tmp_path / "tiny.magnetar" / "tiny.toml"
    assert magnetar("catalog", "add", manifest).code == 5  # by whom is not said beside it
    assert "CN=My Lab" in magnetar("catalog", "add", manifest, "--certificate", root).out
    assert magnetar("catalog", "add", published(magnetar, tmp_path / "key", key)).code == 5


def test_the_roots_of_a_certificate_are_kept_so_that_the_signer_need_not_be_named_again(
    magnetar: Run, tmp_path: Path, mine: Path
) -> None:
    folder = write_release(tmp_path / "tiny", {"weights": 70_000})
    authority = Authority()
    root = authority.write(tmp_path / "root.crt")

    def publish(signer: Signer, name: str) -> Path:
        leaf, certificate = signer.write(tmp_path / "leaf.pem", tmp_path / "leaf.crt")
        words = ("--sign", "certificate", "--key", leaf, "--certificate", certificate, "--chain", root, "--name", name)
        out = tmp_path / f"{name}.out"
        assert magnetar("publish", folder, "--no-tensors", "--publisher", "My Lab", *words, "--out", out).code == 0
        return out / f"{name}.toml"

    first = authority.certify("CN=My Lab,O=Example")
    tiny = publish(first, "tiny")
    assert magnetar("catalog", "add", tiny, "--certificate", root, "--subject", "Somebody").code == 5
    assert (
        magnetar("catalog", "add", tiny, "--certificate", root, "--subject", "O=Example", "--issuer", "Root").code == 0
    )
    for words in (("catalog", "add", tiny), ("verify", folder, "-m", "tiny", "--require-signature")):
        shown = magnetar(*words)
        assert shown.code == 0, shown.err
        assert "certificate CN=My Lab,O=Example sha256:" in shown.out
    magnetar("catalog", "remove", "tiny")
    assert not list(mine.glob("tiny*"))
    other = publish(authority.certify("CN=My Lab,O=Example"), "tiny")
    shown = magnetar("catalog", "add", other, "--certificate", root)
    assert shown.code == 5  # of the same name and root, and with another key
    assert "--forget-signer" in shown.err


def test_files_in_the_users_folder_that_are_no_entries_are_named_and_harm_nothing(magnetar: Run, mine: Path) -> None:
    mine.mkdir()
    (mine / "bad.toml").write_text("format = 99")
    (mine / "pins.json").write_text("[]")
    listed = magnetar("catalog")
    assert listed.code == 0
    assert "passed over" in listed.out
    assert magnetar("catalog", "show", "austen-moe").code == 0
    assert magnetar("catalog", "remove", "bad").code == 3
