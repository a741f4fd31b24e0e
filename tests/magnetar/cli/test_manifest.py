import json
from pathlib import Path

from magnetar.manifests.schema import load_manifest
from tests.magnetar.conftest import Run


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


def test_pointers_of_git_lfs_go_out_and_come_back(magnetar: Run, release: Path, tmp_path: Path) -> None:
    assert magnetar("manifest", "export", "austen-moe", "--format", "lfs", "--dir", tmp_path / "clone").code == 0
    (tmp_path / "clone" / "README.md").write_text("not a pointer")
    imported = magnetar("manifest", "import", tmp_path / "clone", "-o", tmp_path / "clone.toml")
    assert imported.code == 0
    files = {file.path: file for file in load_manifest(tmp_path / "clone.toml").files or ()}
    assert files["consolidated.00.pth"].size == (release / "consolidated.00.pth").stat().st_size
    assert files["README.md"].size == len("not a pointer")
    (release / "README.md").write_text("not a pointer")
    assert magnetar("verify", release, "--manifest", tmp_path / "clone.toml").code == 0
    again = magnetar("manifest", "export", "austen-moe", "--format", "lfs", "--dir", tmp_path / "clone")
    assert (again.code, "not empty" in again.err) == (2, True)
    assert magnetar("manifest", "export", "grok-1", "--format", "lfs", "--dir", tmp_path / "none").code == 3
    assert not (tmp_path / "none").exists()
    assert magnetar("manifest", "export", "austen-moe", "--format", "lfs").code == 2


def test_a_manifest_goes_out_as_a_bill_of_materials(magnetar: Run) -> None:
    shown = magnetar("manifest", "export", "austen-moe", "--format", "cyclonedx")
    assert shown.code == 0
    assert json.loads(shown.out)["metadata"]["component"]["type"] == "machine-learning-model"
    told = magnetar("manifest", "export", "austen-moe", "--format", "cyclonedx", "--json").document
    assert json.loads(told["result"]["text"]) == json.loads(shown.out)
    assert magnetar("manifest", "export", "austen-moe", "--format", "cyclonedx", "--dir", "x").code == 2


def test_lists_and_single_pointers_are_imported_and_other_files_refused(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    (tmp_path / "SUMS").write_text(magnetar("manifest", "export", "austen-moe").out)
    sums = magnetar("manifest", "import", tmp_path / "SUMS", "--json").document["result"]["manifest"]
    box = magnetar("manifest", "import", release / "RELEASE", "--json").document["result"]["manifest"]
    assert (len(sums["files"]), len(box["files"])) == (4, 3)
    magnetar("manifest", "export", "austen-moe", "--format", "lfs", "--dir", tmp_path / "clone")
    pointer = magnetar("manifest", "import", tmp_path / "clone" / "params.json", "--json")
    assert pointer.document["result"]["manifest"]["files"][0]["size"] == 185
    assert magnetar("manifest", "import", release / "tokenizer.model").code == 3
    assert magnetar("manifest", "import", tmp_path / "nowhere").code == 2


def test_digests_of_tensors_prove_a_converted_copy_by_a_manifest_of_ones_own(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    side = tmp_path / "mine.tensors.json"
    made = magnetar("manifest", "tensors", release, "-o", side, "--json")
    assert made.code == 0
    magnetar("manifest", "create", release, "--name", "mine", "-o", tmp_path / "mine.toml")
    with (tmp_path / "mine.toml").open("a") as stream:
        stream.write("\n" + made.document["result"]["lines"])
    assert magnetar("convert", release, tmp_path / "gguf", "--to", "gguf").code == 0
    shown = magnetar("verify", tmp_path / "gguf", "-m", tmp_path / "mine.toml")
    assert shown.code == 8  # the catalog's manifest states a context length, and this one does not
    assert "127 of 127 tensors" in shown.out
    assert "context_length" in shown.out
