"""`magnetar publish`, as its user meets it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.download.state_folder import read_kept_torrent
from magnetar.fetch.torrent.metainfo import load, read_torrent
from magnetar.manifests.schema import load_manifest
from tests.fetch.world import NEARBY, contents, serve, write_release
from tests.magnetar.conftest import Run
from tests.manifests.conftest import dig_too_deep
from tests.manifests.signing.keys import write_key

WORDS = ("--publisher", "My Lab", "--licence", "MIT", "--tracker", "udp://tracker.example:1337/announce")


def test_a_folder_becomes_a_release_that_can_be_fetched_and_proven(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    before = contents(release)
    shown = magnetar("publish", release, *WORDS, "--web-seed", "https://files.example/w/", "--comment", "new")
    assert shown.code == 0, shown.err
    out = tmp_path / "austen-moe.magnetar"
    manifest = load_manifest(out / "austen-moe.toml")
    assert shown.out.splitlines()[0] == manifest.magnet == (out / "austen-moe.magnet").read_text().strip()
    assert (manifest.publisher, manifest.licence, manifest.layout) == ("My Lab", "MIT", "mistral")
    assert str(manifest.mirrors[0].url) == "https://files.example/w/austen-moe/"
    assert contents(release) == before
    with serve(release) as seeding:
        assert seeding.metadata.infohash_v1 == manifest.infohash_v1
        assert seeding.metadata.infohash_v2 == manifest.infohash_v2
        fetched = fetch(seeding.magnet, tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == before
    assert magnetar("verify", fetched.folder, "--manifest", out / "austen-moe.toml").code == 0
    subprocess.run(["sha256sum", "--check", "--strict", out / "SHA256SUMS"], cwd=release, check=True)
    for sums in ("SHA256SUMS", "B3SUMS"):
        assert "good: the release" in magnetar("verify", fetched.folder, "--manifest", out / sums).out


def test_the_same_folder_gives_the_same_bytes_again_and_elsewhere(magnetar: Run, release: Path, tmp_path: Path) -> None:
    assert magnetar("publish", release, *WORDS).code == 0
    first = contents(tmp_path / "austen-moe.magnetar")
    assert magnetar("publish", release, *WORDS).code == 0
    assert contents(tmp_path / "austen-moe.magnetar") == first
    (tmp_path / "elsewhere").mkdir()
    release.rename(tmp_path / "elsewhere" / "austen-moe")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    assert magnetar("publish", tmp_path / "elsewhere" / "austen-moe", *WORDS, "--out", tmp_path / "out").code == 0
    assert contents(tmp_path / "out") == first
    assert set(first) == {
        "austen-moe.toml", "austen-moe.torrent", "austen-moe.magnet", "austen-moe.md", "austen-moe.tensors.json",
        "SHA256SUMS", "B3SUMS",
    }  # fmt: skip


def test_the_manifest_pins_the_torrent_the_tensors_and_the_fingerprint(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    from magnetar.model.bundled import bundled_golden

    out = tmp_path / "out"
    shown = magnetar("publish", release, "-o", out, "--golden", bundled_golden(), "--json")
    assert shown.document["ok"], shown.out
    manifest = load_manifest(out / "austen-moe.toml")
    torrent = (out / "austen-moe.torrent").read_bytes()
    assert manifest.info is not None
    assert manifest.info.hex == hashlib.sha256(bytes(load(torrent).ti.info_section())).hexdigest()
    assert read_kept_torrent(release) == torrent
    assert manifest.tensors is not None
    assert manifest.tensors.digest.hex == hashlib.sha256((out / manifest.tensors.path).read_bytes()).hexdigest()
    assert manifest.smoke is not None
    assert manifest.smoke.golden is not None
    golden = (out / "austen-moe.golden.safetensors").read_bytes()
    assert manifest.smoke.golden.hex == hashlib.sha256(golden).hexdigest()
    assert manifest.architecture.experts == 8
    converted = tmp_path / "converted"
    assert magnetar("convert", release, converted, "--to", "safetensors").code == 0
    assert "bit for bit" in magnetar("verify", converted, "--manifest", out / "austen-moe.toml").out


def test_what_the_smoke_test_finds_is_published_and_found_again(magnetar: Run, release: Path, tmp_path: Path) -> None:
    from magnetar.pipeline.folder.expectations import look_up
    from magnetar.pipeline.folder.release_folder import ReleaseFolder

    assert magnetar("publish", release, "--boot", "--no-tensors").code == 0
    path = tmp_path / "austen-moe.magnetar" / "austen-moe.toml"
    smoke = load_manifest(path).smoke
    assert smoke is not None
    assert smoke.bits_per_byte == pytest.approx(1.3976, rel=0.002)
    known = look_up(ReleaseFolder.read(release), str(path))
    assert known.bits_per_byte == smoke.bits_per_byte
    assert known.golden is not None


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_version_and_the_pieces_are_as_asked_for_and_explained(
    magnetar: Run, release: Path, tmp_path: Path, version: str
) -> None:
    shown = magnetar("publish", release, "--torrent-version", version, "--piece-length", "64k", "--no-tensors")
    assert "pieces of 64 KiB, as asked for" in shown.out
    manifest = load_manifest(tmp_path / "austen-moe.magnetar" / "austen-moe.toml")
    assert bool(manifest.infohash_v1) == (version == "v1")
    assert bool(manifest.infohash_v2) == (version == "v2")
    metadata = read_torrent((tmp_path / "austen-moe.magnetar" / "austen-moe.torrent").read_bytes())
    assert metadata.piece_length == 65536
    assert "ten times the square root" in magnetar("publish", release, "--no-tensors").out


def test_what_is_not_a_model_that_is_known_is_published_without_tensors_and_says_so(
    magnetar: Run, tmp_path: Path
) -> None:
    folder = write_release(tmp_path / "data", {"a.txt": 100, "b/c.bin": 70_000})
    shown = magnetar("publish", folder, "--json").document
    assert shown["ok"]
    assert "a converted copy cannot be proven" in shown["result"]["not_done"][0]
    assert load_manifest(tmp_path / "data.magnetar" / "data.toml").tensors is None


def test_a_manifest_that_ships_in_the_folder_is_in_the_torrent_and_not_in_the_manifest(
    magnetar: Run, tmp_path: Path
) -> None:
    folder = write_release(tmp_path / "data", {"weights": 70_000})
    (folder / "magnetar.toml").write_text("format = 1")
    assert magnetar("publish", folder, "--no-tensors").code == 0
    manifest = load_manifest(tmp_path / "data.magnetar" / "data.toml")
    assert [file.path for file in manifest.files or ()] == ["weights"]
    with serve(folder) as seeding:
        assert [str(file.path) for file in seeding.metadata.files] == ["magnetar.toml", "weights"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("{tmp}/absent",), 2),
        (("{tmp}/empty",), 2),
        (("{tmp}/data", "--out", "{tmp}/data/inside"), 2),
        (("{tmp}/data", "--out", "{tmp}/others"), 2),
        (("{tmp}/data", "--out", "{tmp}/file"), 2),
        (("{tmp}/模型",), 2),
        (("{tmp}/data", "--piece-length", "5000"), 2),
        (("{tmp}/data", "--piece-length", "many"), 2),
        (("{tmp}/data", "--tracker", "nonsense"), 2),
        (("{tmp}/data", "--web-seed", "ftp://x.example/"), 2),
        (("{tmp}/data", "--torrent-version", "v3"), 2),
        (("{tmp}/data", "--published", "yesterday"), 2),
        (("{tmp}/data", "--name", "../escape"), 3),
        (("{tmp}/data", "--key", "{tmp}/file"), 2),
        (("{tmp}/data", "--sign", "key"), 2),
        (("{tmp}/data", "--sign", "key", "--key", "{tmp}/file"), 2),
        (("{tmp}/data", "--sign", "key", "--key", "{tmp}/absent"), 2),
        (("{tmp}/data", "--sign", "certificate", "--key", "{tmp}/file", "--certificate", "{tmp}/file"), 2),
        (("{tmp}/data", "--golden", "{tmp}/file"), 6),
        (("{tmp}/data", "--golden", "{tmp}/absent"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_cannot_be_published_is_refused_and_leaves_nothing(
    magnetar: Run, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    write_release(tmp_path / "data", {"weights": 5_000})
    write_release(tmp_path / "模型", {"weights": 5_000})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("nothing of use")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "other.toml").touch()
    before = {path for path in tmp_path.rglob("*") if ".magnetar" not in path.parts}
    shown = magnetar("publish", *(word.replace("{tmp}", str(tmp_path)) for word in words))
    assert shown.code == code, shown.err
    assert shown.err.startswith("error: ")
    assert {path for path in tmp_path.rglob("*") if ".magnetar" not in path.parts} == before


def test_a_folder_of_which_a_part_cannot_be_read_is_not_published_without_it(magnetar: Run, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "data", {"weights": 5_000})
    dig_too_deep(folder)
    shown = magnetar("publish", folder, "--no-tensors")
    assert shown.code == 4
    assert "File name too long" in shown.err
    assert not (tmp_path / "data.magnetar").exists()


def test_a_folder_that_was_another_torrent_says_so_and_one_that_is_at_work_is_left_alone(
    magnetar: Run, tmp_path: Path
) -> None:
    folder = write_release(tmp_path / "data", {"weights": 70_000})
    with serve(folder, piece_length=16384):
        assert magnetar("publish", folder, "--no-tensors").code == 4
    shown = magnetar("publish", folder, "--no-tensors", "--private", "--progress", "plain")
    assert shown.code == 0
    assert "seed serves the new torrent" in shown.err


def test_ctrl_c_is_heard_while_a_large_file_is_hashed_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights").touch()
    os.truncate(tmp_path / "data" / "weights", 256 << 30)  # minutes of work, if it were done
    command = [sys.executable, "-m", "magnetar", "publish", str(tmp_path / "data"), "--no-tensors"]
    with subprocess.Popen([*command, "--progress", "json"], stderr=subprocess.PIPE, text=True) as publishing:
        assert publishing.stderr is not None
        while '"moved"' not in publishing.stderr.readline():
            assert publishing.poll() is None
        publishing.send_signal(signal.SIGINT)
        publishing.stderr.read()
        assert publishing.wait() == 130
    assert not (tmp_path / "data.magnetar").exists()


def test_without_the_extra_all_but_signatures_works_and_they_say_what_to_install(
    magnetar: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key = write_release(tmp_path / "data", {"weights": 5_000}), write_key(tmp_path / "lab.pem")
    script = (
        "import sys; sys.modules |= dict.fromkeys(('model_signing', 'cryptography', 'sigstore', 'OpenSSL'));"
        "from magnetar.cli.app import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script]
    for words in (["publish", folder, "--no-tensors"], ["verify", folder], ["catalog"]):
        subprocess.run([*command, *map(str, words)], check=True, capture_output=True)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for words in (["publish", folder, "--sign", "key", "--key", key], ["verify", folder, "--public-key", key]):
        (tmp_path / "data.magnetar" / "data.toml.sig").write_text("{}")
        shown = magnetar(*words)
        assert shown.code == 2
        assert "magnetar[sign]" in shown.err


def test_no_space_for_the_manifest_is_the_disks_fault_and_the_payload_is_untouched(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "data", {"weights": 5_000})
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from magnetar.cli.app import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "publish", str(folder), "--no-tensors", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "NoSpace"
    assert (folder / "weights").stat().st_size == 5_000


def test_a_signed_release_is_the_same_again_until_its_bytes_or_its_signer_change(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    key = write_key(tmp_path / "lab.pem")
    words = ("publish", release, *WORDS, "--no-tensors")
    signed = (*words, "--sign", "key", "--key", key)
    assert "signed  by key sha256:" in magnetar(*signed).out
    out = tmp_path / "austen-moe.magnetar"
    first = contents(out)
    assert first["austen-moe.toml.pub"] == (tmp_path / "lab.pem.pub").read_bytes()
    assert magnetar(*signed).code == 0
    assert contents(out) == first
    assert magnetar(*words).code == 0  # the signature still holds, and stays
    assert contents(out).keys() == first.keys()
    stranger = write_key(tmp_path / "other.pem")
    assert magnetar(*words, "--sign", "key", "--key", stranger).code == 0
    assert contents(out)["austen-moe.toml.pub"] == (tmp_path / "other.pem.pub").read_bytes()
    assert contents(out)["model.sig"] != first["model.sig"]
    by_stranger = contents(out)["model.sig"]
    assert magnetar(*words, "--summary", "changed").code == 0
    assert [name for name in contents(out) if name.endswith((".sig", ".pub"))] == ["model.sig"]
    assert contents(out)["model.sig"] == by_stranger  # the files are the same, and so it holds
    (release / "params.json").write_text("{}")
    assert magnetar(*words).code == 0
    assert "model.sig" not in contents(out)


def test_the_tool_of_model_signing_accepts_the_signature_over_the_folder(magnetar: Run, tmp_path: Path) -> None:
    key = write_key(tmp_path / "lab.pem")
    folder = write_release(tmp_path / "data", {"weights": 5_000, "sub/x": 70_000, ".gitattributes": 20})
    (folder / "magnetar.toml").write_text("# the folder's own manifest is signed too")
    assert magnetar("publish", folder, "--no-tensors", "--sign", "key", "--key", key).code == 0
    assert (folder / ".magnetar").is_dir()
    signature = tmp_path / "data.magnetar" / "model.sig"

    def accepts() -> bool:
        command = [sys.executable, "-m", "model_signing", "verify", "key", folder, "--signature", signature]
        return subprocess.run([*command, "--public_key", f"{key}.pub"], capture_output=True).returncode == 0

    assert accepts()
    for path in (folder / "sub" / "x", folder / "magnetar.toml"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"?")
        assert not accepts()
        path.write_bytes(content)
    assert accepts()
    (folder / "added").touch()
    assert not accepts()


def test_a_private_key_in_the_folder_is_not_published_with_it(magnetar: Run, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "data", {"weights": 5_000})
    shown = magnetar("publish", folder, "--sign", "key", "--key", write_key(folder / "lab.pem"))
    assert shown.code == 2
    assert "move it away first" in shown.err


def test_sigstore_says_that_it_publishes_the_address_before_anything_is_read_or_sent(
    magnetar: Run, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "data"))
    for showing in (("--progress", "plain"), ("--quiet",), ("--progress", "none")):
        shown = magnetar("publish", release, "--sign", "sigstore", *showing)
        assert shown.code == 4
        assert shown.err.index("e-mail address") < shown.err.index("error: ")
    assert not (tmp_path / "austen-moe.magnetar").exists()
    assert "e-mail" in magnetar("publish", "--help").out
