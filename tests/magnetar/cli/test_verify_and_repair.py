"""Damage on disk, as the command line tells it, looks past it, and mends it: on the bundled release, offline."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from magnetar.events import Event, Moved
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.files import stamp
from magnetar.findings import Outcome
from magnetar.manifests.catalog import find_release
from magnetar.manifests.checking.verify_report import FileState
from magnetar.manifests.folder.origin import Origin, record_origin
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.verify_files import verify_files
from magnetar.pipeline.proving.verify_request import VerifyRequest
from tests import needs
from tests.magnetar.conftest import Run
from tests.settled import settle

WEIGHTS = "consolidated.00.pth"
AUSTEN = find_release("austen-moe")


@pytest.fixture(scope="module")
def torrent(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = Path(shutil.copytree(bundled_release(), tmp_path_factory.mktemp("torrent") / "austen-moe"))
    return create_torrent(folder, TorrentOptions(piece_length=32768))


@pytest.fixture
def fetched(release: Path, torrent: bytes) -> Path:
    """The bundled release as a fetch leaves it."""
    return remember(release, torrent, complete=True)


def remember(folder: Path, torrent: bytes, *, complete: bool) -> Path:
    record_origin(folder, Origin("austen-moe", AUSTEN.infohash_v1 or "", AUSTEN.infohash_v2 or "", complete))
    (folder / ".magnetar" / "release.torrent").write_bytes(torrent)
    return folder


def overwrite(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(content)


def test_damage_is_told_by_bytes_pieces_and_tensors(magnetar: Run, fetched: Path) -> None:
    overwrite(fetched / WEIGHTS, 3_000_000, bytes(70_000))
    shown = magnetar("verify", fetched)
    assert shown.code == 5
    assert "96 KiB in 3 pieces: bytes 2,981,888-3,080,192" in shown.out
    assert "layers.1.feed_forward.experts.4.w3.weight: 59 KiB of 64 KiB" in shown.out
    assert "magnetar repair" in shown.out
    (damage,) = magnetar("verify", fetched, "--json").document["result"]["damage"]
    assert (damage["path"], damage["pieces"], damage["damaged"]) == (WEIGHTS, [92, 93, 94], 98_304)
    assert sum(tensor["damaged"] for tensor in damage["tensors"]) <= damage["damaged"]


def test_a_folder_without_its_torrent_is_verified_without_places(magnetar: Run, release: Path) -> None:
    overwrite(release / WEIGHTS, 3_000_000, bytes(70_000))
    report = magnetar("verify", release, "--json")
    assert report.code == 5
    assert report.document["result"]["damage"] == []


def test_a_manifest_that_pins_no_torrent_still_finds_the_damage_by_it(
    magnetar: Run, fetched: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "mine.toml"
    assert magnetar("manifest", "create", bundled_release(), "-o", manifest).code == 0
    overwrite(fetched / WEIGHTS, 3_000_000, b"x" * 10)
    (damage,) = magnetar("verify", fetched, "-m", manifest, "--json").document["result"]["damage"]
    assert damage["pieces"] == [92]


def test_repair_takes_the_damaged_pieces_from_a_copy_and_names_the_tensors(magnetar: Run, fetched: Path) -> None:
    whole = (fetched / WEIGHTS).read_bytes()
    overwrite(fetched / WEIGHTS, 3_000_000, bytes(70_000))
    repaired = magnetar("repair", fetched, "--adopt", bundled_release(), "--loopback")
    assert repaired.code == 0
    assert "layers.1.feed_forward.experts.4.w3.weight: 59 KiB of 64 KiB" in repaired.out
    assert "3 pieces, 96 KiB; every piece is good now" in repaired.out
    assert (fetched / WEIGHTS).read_bytes() == whole
    assert "nothing is damaged" in magnetar("repair", fetched, "--loopback").out
    assert "good: the release" in magnetar("verify", fetched).out


def test_repair_says_what_it_cannot_do(magnetar: Run, release: Path, fetched: Path, tmp_path: Path) -> None:
    assert magnetar("repair", tmp_path / "nowhere").code == 2
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    assert "name what it should be" in magnetar("repair", nameless).err
    overwrite(fetched / WEIGHTS, 3_000_000, bytes(7))
    stalled = magnetar("repair", fetched, "--loopback", "--stall-timeout", "1s")
    assert stalled.code == 4
    assert "32,768 of 32,768 bytes still to come" in stalled.err
    assert magnetar("convert", bundled_release(), tmp_path / "gguf", "--to", "gguf").code == 0
    assert "converted copy" in magnetar("repair", tmp_path / "gguf").err


def test_repair_takes_the_torrent_that_was_published_with_the_manifest(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    assert magnetar("publish", release, "--no-tensors", "--name", "mine").code == 0
    copy = Path(shutil.copytree(bundled_release(), tmp_path / "copy"))
    overwrite(copy / WEIGHTS, 3_000_000, bytes(7))
    words = ("repair", copy, "-m", tmp_path / "austen-moe.magnetar" / "mine.toml", "--loopback")
    assert magnetar(*words, "--adopt", release).code == 0
    assert (copy / WEIGHTS).read_bytes() == (release / WEIGHTS).read_bytes()


def test_what_is_no_folder_or_no_torrent_is_named_as_such(magnetar: Run, release: Path) -> None:
    shown = magnetar("repair", release / "params.json")
    assert (shown.code, "there is no such folder" in shown.err) == (2, True)
    shown = magnetar("repair", release, "--torrent", release / "params.json")
    assert (shown.code, "params.json: the torrent cannot be read" in shown.err) == (3, True)
    shown = magnetar("verify", release, "-m", release)
    assert (shown.code, "is a folder, and no manifest" in shown.err) == (2, True)


@needs.linux  # whose /proc/self/mem is a file that not even root can read from its first byte
def test_a_file_that_the_disk_does_not_give_ends_with_4_and_the_others_are_shown(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "mine.toml"
    assert magnetar("manifest", "create", bundled_release(), "--name", "mine", "-o", manifest).code == 0
    manifest.write_text(re.sub(r'(?<=path = "params.json"\n)size = \d+\n', "", manifest.read_text()))
    (release / "params.json").unlink()
    (release / "params.json").symlink_to("/proc/self/mem")
    shown = magnetar("verify", release, "-m", manifest)
    assert shown.code == 4, shown.out
    assert re.search(r"params\.json .* unreadable .*Input/output error", shown.out)
    assert shown.out.count(" good ") == 3
    assert "not all could be read; nothing wrong was found in the rest  held against mine" in shown.out
    assert magnetar("verify", release, "-m", manifest, "--json").document["result"]["outcome"] == "failed"
    (release / "RELEASE").write_bytes(b"x")
    shown = magnetar("verify", release, "-m", manifest)
    assert (shown.code, "not the release" in shown.out, "unreadable" in shown.out) == (5, True, True)


def test_a_quick_look_goes_on_where_ctrl_c_ended_the_last(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(release.iterdir())
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    def interrupt(event: Event) -> None:
        if isinstance(event, Moved) and event.amount > 1 << 20:  # of the weights, the second file
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_files(VerifyRequest(folder=ReleaseFolder.read(release), named="austen-moe"), interrupt)
    report = verify_files(VerifyRequest(folder=ReleaseFolder.read(release), named="austen-moe", quick=True))
    unchanged = {file.path for file in report.files if file.state is FileState.UNCHANGED}
    assert "RELEASE" in unchanged
    assert WEIGHTS not in unchanged
    assert report.outcome is Outcome.GOOD


def test_a_quick_look_believes_an_earlier_run_and_says_so(magnetar: Run, release: Path) -> None:
    settle(release.iterdir())
    first = magnetar("verify", release, "--quick")
    assert "good: the release" in first.out  # nobody had read it before
    second = magnetar("verify", release, "--quick", "--json")
    assert second.code == 0
    assert {file["state"] for file in second.document["result"]["files"]} == {"unchanged"}
    assert "unchanged since it was good" in magnetar("verify", release, "--quick").out
    overwrite(release / WEIGHTS, 3_000_000, b"x")
    third = magnetar("verify", release, "--quick")
    assert third.code == 5
    assert "wrong-digest" in third.out


def test_a_quick_look_sees_another_file_that_was_copied_there_with_the_same_size_and_time(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    settle(release.iterdir())
    assert magnetar("verify", release).code == 0
    other = Path(shutil.copy2(release / WEIGHTS, tmp_path / "other"))
    overwrite(other, 3_000_000, b"x")
    settle([other])
    shutil.copy2(other, release / WEIGHTS)
    assert magnetar("verify", release, "--quick").code == 5


def test_a_disk_that_rots_is_what_a_quick_look_does_not_see(
    magnetar: Run, release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAGNETAR_CACHE", str(tmp_path / "cache"))
    settle([release / WEIGHTS])
    magnetar("verify", release)
    before = stamp((release / WEIGHTS).stat())
    overwrite(release / WEIGHTS, 3_000_000, b"x")
    (notes,) = (tmp_path / "cache" / "verified").iterdir()
    text, rotten = notes.read_text(), json.dumps(stamp((release / WEIGHTS).stat()))
    notes.write_text(text.replace(json.dumps(before), rotten))  # where a disk rots, no stamp changes
    assert rotten in notes.read_text()
    quick = magnetar("verify", release, "--quick", "--json").document["result"]
    assert {file["path"]: file["state"] for file in quick["files"]}[WEIGHTS] == "unchanged"
    assert magnetar("verify", release).code == 5
    assert magnetar("verify", release, "--quick").code == 5  # and what was bad is not believed any more


def test_an_unfinished_download_is_verified_as_far_as_it_has_come(
    magnetar: Run, release: Path, torrent: bytes, tmp_path: Path
) -> None:
    remember(release, torrent, complete=False)
    (release / "tokenizer.model").unlink()
    overwrite(release / WEIGHTS, 1 << 20, bytes(1 << 20))
    report = magnetar("verify", release, "--json")
    assert report.code == 5  # that the download goes on is only what a note in the folder says
    files = {file["path"]: file for file in report.document["result"]["files"]}
    findings = {finding["subject"]: finding for finding in report.document["result"]["findings"]}
    assert {finding["kind"] for finding in findings.values()} == {"not-arrived"}
    assert findings["tokenizer.model"]["detail"] == "has not arrived"
    assert "6,212,393 of 7,260,969 bytes" in findings[WEIGHTS]["detail"]
    assert files["params.json"]["state"] == "good"
    assert "not whole yet" in magnetar("verify", release).out
    overwrite(release / WEIGHTS, 5_000_000, b"x")  # not a hole: this is damage
    report = magnetar("verify", release, "--json")
    assert report.code == 5
    kinds = {finding["subject"]: finding["kind"] for finding in report.document["result"]["findings"]}
    assert kinds == {WEIGHTS: "zero-filled", "tokenizer.model": "not-arrived"}
    assert [damage["pieces"] for damage in report.document["result"]["damage"]] == [[153]]


def test_a_file_that_was_cut_into_parts_is_verified_as_the_whole_that_it_is(magnetar: Run, release: Path) -> None:
    content = (release / WEIGHTS).read_bytes()
    (release / WEIGHTS).unlink()
    step = -(-len(content) // 11)
    for number in range(11):
        (release / f"{WEIGHTS}-split{number}").write_bytes(content[number * step : (number + 1) * step])
    shown = magnetar("verify", release)
    assert shown.code == 0
    assert "in 11 parts" in shown.out
    overwrite(release / f"{WEIGHTS}-split10", 3, b"\x00\x01")
    assert magnetar("verify", release).code == 5
    (release / f"{WEIGHTS}-split4").unlink()
    assert "missing" in magnetar("verify", release).out


def test_the_notes_of_a_quick_look_are_not_believed_if_they_are_odd(
    magnetar: Run, release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAGNETAR_CACHE", str(tmp_path / "cache"))
    settle(release.iterdir())
    magnetar("verify", release)
    (notes,) = (tmp_path / "cache" / "verified").iterdir()
    good = json.loads(notes.read_bytes())
    odd = [b"", b"[]", b"[" * 100_000, json.dumps({**good, "format": 3}).encode()]
    odd.append(json.dumps({**good, "files": {WEIGHTS: [1, 2]}}).encode())
    for content in odd:
        notes.write_bytes(content)
        shown = magnetar("verify", release, "--quick", "--json")
        assert shown.code == 0
        assert {file["state"] for file in shown.document["result"]["files"]} == {"good"}
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_bytes(b"in the way")
    assert magnetar("verify", release, "--quick").code == 0
