from pathlib import Path

from magnetar.manifests.schema import load_manifest

from .conftest import Run


def test_a_folder_is_described_shown_checked_and_proven_by_its_manifest(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    created = magnetar("manifest", "create", release, "--publisher", "My Lab", "--licence", "MIT", "--output", path)
    assert created.code == 0
    assert load_manifest(path).publisher == "My Lab"
    assert "My Lab" in magnetar("manifest", "show", path).out
    assert "4 of 4 files have a strong digest" in magnetar("manifest", "check", path).out
    assert "good: the release" in magnetar("verify", release, "--manifest", path).out


def test_without_an_output_the_manifest_goes_to_stdout_and_nowhere_else(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    shown = magnetar("manifest", "create", release, "--quiet", "--algorithm", "md5")
    assert shown.err == ""
    (tmp_path / "from-stdout.toml").write_text(shown.out)
    assert load_manifest(tmp_path / "from-stdout.toml").known_size == sum(
        path.stat().st_size for path in release.iterdir()
    )
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "from-stdout.toml"])


def test_the_box_in_release_pins_a_sha256_and_a_list_of_digests_verifies(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    pinned = magnetar("manifest", "pin", release, "--manifest", release / "RELEASE", "-a", "sha256", "--json")
    files = pinned.document["result"]["manifest"]["files"]
    assert [file["digests"][0][:7] for file in files] == ["sha256:"] * 3
    exported = magnetar("manifest", "export", "austen-moe", "--format", "bsd")
    (tmp_path / "SUMS").write_text(exported.out)
    assert magnetar("verify", release, "--manifest", tmp_path / "SUMS").code == 0


def test_a_malformed_manifest_exits_3_and_one_that_proves_little_says_so(magnetar: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("format = 1")
    assert magnetar("manifest", "check", tmp_path / "bad.toml").code == 3
    shown = magnetar("manifest", "check", "mixtral-8x7b-v0.1").out
    assert "1 of 4 files have a strong digest, 1 only a weak one, 2 none" in shown
    assert "proves nothing" in magnetar("manifest", "check", "grok-1").out
