"""`magnetar repair` of a folder that no torrent leads to: whole files, by the digests of its manifest."""

import re
import shutil
from pathlib import Path

import pytest

from magnetar.model.bundled import bundled_release
from tests import needs
from tests.fetch.mirror_world import mirror_server
from tests.fetch.world import contents, flip_byte
from tests.magnetar.conftest import Run
from tests.patience import PATIENCE

WEIGHTS = "consolidated.00.pth"
ALONE = ("--loopback", "--stall-timeout", f"{PATIENCE:.0f}")


@pytest.fixture
def manifest(magnetar: Run, tmp_path: Path) -> Path:
    """A manifest with digests, and neither link nor mirror."""
    path = tmp_path / "mine.toml"
    assert magnetar("manifest", "create", bundled_release(), "--name", "mine", "-o", path).code == 0
    return path


def test_without_torrent_mirror_or_copy_it_says_what_to_name(magnetar: Run, release: Path, manifest: Path) -> None:
    flip_byte(release / WEIGHTS, 3_000_000)
    shown = magnetar("repair", release, "-m", manifest)
    assert shown.code == 2
    assert "mine: its manifest names neither a torrent nor a mirror" in shown.err
    for word in ("--torrent", "--mirror", "--adopt"):
        assert word in shown.err


def test_a_damaged_file_comes_from_a_mirror_as_a_whole_and_is_proven(
    magnetar: Run, release: Path, manifest: Path
) -> None:
    whole = contents(release)
    flip_byte(release / WEIGHTS, 3_000_000)
    with mirror_server(whole) as server:
        words = ("repair", release, "-m", manifest, "--mirror", f"{server.url}/", *ALONE)
        shown = magnetar(*words)
        assert shown.code == 0, shown.err
        assert f"replaced as a whole: {WEIGHTS}" in shown.out
        assert "1 file, each proven by its digests" in shown.out
        assert server.sent == len(whole[WEIGHTS])
        assert "nothing is damaged" in magnetar(*words).out
    assert contents(release) == whole


@needs.linux
def test_a_file_that_the_disk_does_not_give_and_that_nothing_can_replace_is_not_called_wrong(
    magnetar: Run, release: Path, manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundled_release(), tmp_path / "copy")
    (release / "params.json").unlink()
    (release / "params.json").symlink_to("/proc/self/mem")
    manifest.write_text(re.sub(r'(?<=path = "params.json"\n)size = \d+\n', "", manifest.read_text()))
    shown = magnetar("repair", release, "-m", manifest, "--adopt", tmp_path / "copy", *ALONE)
    assert shown.code == 4, shown.out
    assert f"not all could be read  {release}: params.json" in shown.out


def test_the_mirrors_of_the_manifest_are_asked_under_the_rules_of_mirrors(
    magnetar: Run, release: Path, manifest: Path
) -> None:
    flip_byte(release / WEIGHTS, 3_000_000)
    with mirror_server(contents(bundled_release())) as server:
        manifest.write_text(manifest.read_text() + f'\n[[mirrors]]\nurl = "{server.url}/"\n')
        shown = magnetar("repair", release, "-m", manifest, *ALONE)
        assert shown.code == 4  # a manifest may not send us to a private address
        assert f"nobody served {WEIGHTS} as the manifest has it" in shown.err
        assert "only a host that you name may have one" in shown.err
        assert server.asked == []
        assert magnetar("repair", release, "-m", manifest, "--mirror", f"{server.url}/elsewhere/", *ALONE).code == 0
        assert magnetar("repair", release, "-m", manifest, "--no-mirrors", *ALONE).code == 2


def test_files_that_no_digest_speaks_for_are_neither_replaced_nor_called_good(
    magnetar: Run, release: Path, manifest: Path
) -> None:
    lines = manifest.read_text().splitlines()
    at = lines.index('path = "params.json"')
    end = next(number for number in range(at, len(lines)) if lines[number] == "]")
    manifest.write_text("\n".join([*lines[: at + 2], *lines[end + 1 :]]))
    words = ("repair", release, "-m", manifest, "--adopt", bundled_release(), *ALONE)
    flip_byte(release / "params.json", 3)
    shown = magnetar(*words)
    assert shown.code == 8
    assert "nothing says what it should be: params.json" in shown.out
    (release / "params.json").write_text("{}")
    shown = magnetar(*words, "--json")
    assert shown.code == 5
    assert shown.document["result"]["still_bad"] == ["params.json"]
    assert (release / "params.json").read_text() == "{}"


def test_where_only_a_weak_digest_speaks_for_a_file_that_is_said(magnetar: Run, release: Path, tmp_path: Path) -> None:
    weak = tmp_path / "weak.toml"
    assert magnetar("manifest", "create", bundled_release(), "--name", "weak", "-a", "md5", "-o", weak).code == 0
    flip_byte(release / WEIGHTS, 3_000_000)
    shown = magnetar("repair", release, "-m", weak, "--adopt", bundled_release(), *ALONE)
    assert shown.code == 0
    assert "each proven by MD5 or SHA-1 alone" in shown.out


def test_a_link_that_nobody_answers_is_no_reason_to_leave_a_copy_unused(magnetar: Run, release: Path) -> None:
    flip_byte(release / WEIGHTS, 3_000_000)
    words = ("repair", release, "-m", "austen-moe", "--metadata-timeout", "1s", *ALONE, "--progress", "plain")
    assert magnetar(*words).code == 4
    shown = magnetar(*words, "--adopt", bundled_release())
    assert shown.code == 0, shown.err
    assert "so whole files are taken, by their digests" in shown.err
    assert contents(release) == contents(bundled_release())
