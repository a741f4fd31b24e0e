"""``verify --attest``: the statement has what was found, and the digests of what was looked at."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from magnetar.model.bundled import bundled_release
from tests.magnetar.conftest import Run

RELEASE = "austen-moe"


def digests_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_a_whole_release_passes_and_every_file_is_a_subject(magnetar: Run, tmp_path: Path) -> None:
    shown = magnetar("verify", bundled_release(), "--attest", tmp_path / "statement.json")
    assert shown.code == 0
    statement = json.loads((tmp_path / "statement.json").read_text())
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == digests_of(bundled_release())
    predicate = statement["predicate"]
    assert predicate["verificationResult"] == "PASSED"
    assert len(predicate["policy"]["digest"]["sha256"]) == 64
    assert predicate["resourceUri"].startswith("magnet:?")


def test_a_copy_passes_with_the_digests_of_its_own_files(magnetar: Run, originals: Path, tmp_path: Path) -> None:
    shown = magnetar("verify", originals / "gguf", "--attest", tmp_path / "statement.json")
    assert shown.code == 0
    statement = json.loads((tmp_path / "statement.json").read_text())
    found = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert found.items() <= digests_of(originals / "gguf").items()
    assert "model.gguf" in found


@pytest.mark.parametrize(("change", "code"), [("damage", 5), ("foreign code", 8)])
def test_what_is_less_than_the_release_fails_and_the_ledger_says_why(
    magnetar: Run, copy_of: Callable[[str], Path], tmp_path: Path, change: str, code: int
) -> None:
    copy = copy_of("hf")
    if change == "damage":
        (copy / "config.json").write_text("{}")
    else:
        (copy / "modeling_x.py").write_text("import os")
    assert magnetar("verify", copy, "-m", RELEASE, "--attest", tmp_path / "statement.json").code == code
    predicate = json.loads((tmp_path / "statement.json").read_text())["predicate"]
    assert predicate["verificationResult"] == "FAILED"
    rows = predicate["https://magnetar/ledger/v1"]["rows"]
    assert any(row["state"] in ("wrong", "not checked") and row["loadable"] for row in rows)


def test_a_statement_that_cannot_be_written_is_an_error_of_the_disk(magnetar: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = magnetar("verify", bundled_release(), "--attest", tmp_path / "file" / "statement.json")
    assert shown.code == 4
