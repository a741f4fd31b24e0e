import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import DiskError, UsageError
from magnetar.events import Began, Event, FoundWrong, Moved
from magnetar.findings import Outcome
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.diagnose_file import BLOCK_BYTES
from magnetar.manifests.checking.ledger import Verdict, Voucher
from magnetar.manifests.checking.verify import VerifyOptions, verify
from magnetar.manifests.checking.verify_report import FileFault, FileState, PieceCheck
from magnetar.manifests.hashing.digests import CHUNK_BYTES
from magnetar.manifests.writing.create_manifest import list_files, to_toml
from magnetar.manifests.writing.lfs_pointers import write_pointer
from tests import needs
from tests.manifests.conftest import CONTENT, dig_too_deep, manifest_of, write


def test_a_pointer_of_git_lfs_in_the_place_of_a_file_is_named_with_what_it_leads_to(
    release: Path, choice: ChosenManifest
) -> None:
    for file in choice.manifest.files or ():
        (release / file.path).write_text(write_pointer(file))
    (release / "params.json").write_text((release / "weights.bin").read_text())
    report = verify(release, choice)
    assert kinds(report) == [("lfs-pointer", file.path) for file in choice.manifest.files or ()]
    details = [finding.detail for finding in report.findings]
    assert details[0].startswith("is a pointer of Git LFS, not the file itself, and leads to the right file; ")
    assert "git lfs pull" in details[0]
    assert "leads to another file, sha256:" in details[1]


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>", b'{"error":"gone"}', b"Entry not found"])
@pytest.mark.parametrize("same_size", [False, True])
def test_the_error_of_a_server_in_the_place_of_a_file_is_named(
    body: bytes, same_size: bool, release: Path, choice: ChosenManifest
) -> None:
    (release / "weights.bin").write_bytes(body.ljust(3000) if same_size and body[:1] != b"E" else body)
    report = verify(release, choice)
    assert kinds(report) == [("error-page", "weights.bin")]
    assert "fetch it again" in report.findings[0].detail


def fail_to_read(path: Path, choice: ChosenManifest) -> ChosenManifest:
    """Put a regular file there whose first byte gives EIO. The manifest is returned without sizes, to get that far."""
    path.unlink()
    path.symlink_to("/proc/self/mem")
    unsized = [file.model_copy(update={"size": None}) for file in choice.manifest.files or ()]
    return dataclasses.replace(choice, manifest=choice.manifest.model_copy(update={"files": tuple(unsized)}))


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's is not."""
    with TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so another user looks."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def kinds(report: object) -> list[tuple[str, str]]:
    return [(finding.kind.value, finding.subject) for finding in report.findings]  # type: ignore[attr-defined]


def test_a_whole_release_is_good_and_trusted(release: Path, choice: ChosenManifest) -> None:
    report = verify(release, choice)
    assert report.outcome is Outcome.GOOD
    assert report.voucher is Voucher.CATALOG
    assert [file.state for file in report.files] == [FileState.GOOD] * 3
    assert {file.checked_by for file in report.files} == {("sha256",)}


def test_one_flipped_byte_is_a_wrong_digest(release: Path, choice: ChosenManifest) -> None:
    (release / "weights.bin").write_bytes(b"w" * 1500 + b"W" + b"w" * 1499)
    report = verify(release, choice)
    assert kinds(report) == [("wrong-digest", "weights.bin")]
    assert report.outcome is Outcome.BAD


@settings(max_examples=25)
@given(path=st.sampled_from(sorted(CONTENT)), position=st.integers(0, 2999), bit=st.integers(0, 7))
def test_no_flipped_bit_anywhere_is_ever_called_good(
    tmp_path_factory: pytest.TempPathFactory, path: str, position: int, bit: int
) -> None:
    damaged = bytearray(CONTENT[path])
    damaged[position % len(damaged)] ^= 1 << bit
    folder = write(tmp_path_factory.mktemp("flip"), {**CONTENT, path: bytes(damaged)})
    report = verify(folder, ChosenManifest(manifest_of(CONTENT), "", Voucher.CATALOG))
    assert kinds(report) == [("wrong-digest", path)]


def test_a_truncated_file_is_told_with_its_missing_bytes_and_not_read(release: Path, choice: ChosenManifest) -> None:
    (release / "weights.bin").write_bytes(b"w" * 1000)
    report = verify(release, choice)
    assert kinds(report) == [("truncated", "weights.bin")]
    assert report.findings[0].detail == "has 1,000 of 3,000 bytes: 2,000 are missing"


def test_a_missing_file_is_found_together_with_everything_else(release: Path, choice: ChosenManifest) -> None:
    (release / "params.json").unlink()
    (release / "weights.bin").write_bytes(b"w" * 3001)
    report = verify(release, choice)
    assert kinds(report) == [("grown", "weights.bin"), ("missing", "params.json")]


def test_a_folder_in_the_place_of_a_file_is_not_a_file(release: Path, choice: ChosenManifest) -> None:
    (release / "params.json").unlink()
    (release / "params.json").mkdir()
    assert kinds(verify(release, choice)) == [("not-a-file", "params.json")]


def test_a_named_pipe_in_the_place_of_a_file_does_not_hang(release: Path, choice: ChosenManifest) -> None:
    (release / "weights.bin").unlink()
    os.mkfifo(release / "weights.bin")
    assert kinds(verify(release, choice)) == [("not-a-file", "weights.bin")]


def test_links_that_lead_in_a_circle_are_not_a_file(release: Path, choice: ChosenManifest) -> None:
    (release / "weights.bin").unlink()
    (release / "weights.bin").symlink_to("params.json")
    (release / "params.json").unlink()
    (release / "params.json").symlink_to("weights.bin")
    (release / "above").symlink_to(release)
    assert kinds(verify(release, choice)) == [("not-a-file", "weights.bin"), ("not-a-file", "params.json")]


def test_a_link_to_nowhere_is_not_a_file_and_one_to_the_bytes_is_good(release: Path, choice: ChosenManifest) -> None:
    blob = release.parent / "blob"
    (release / "weights.bin").rename(blob)
    (release / "weights.bin").symlink_to(blob)
    assert verify(release, choice).outcome is Outcome.GOOD
    blob.unlink()
    assert kinds(verify(release, choice)) == [("not-a-file", "weights.bin")]


def test_an_unexpected_file_that_a_runtime_could_load_is_not_checked_and_strict_counts_any(
    release: Path, choice: ChosenManifest
) -> None:
    write(release, {"README.md": b"x", ".magnetar/resume": b"x", "magnetar.toml": b"x"})
    report = verify(release, choice)
    assert (report.unexpected, report.notes) == (("README.md", "magnetar.toml"), (".magnetar/resume",))
    assert (report.outcome, report.verdict) == (Outcome.GOOD, Verdict.RELEASE)
    write(release, {"consolidated.01.pth": b"x"})
    report = verify(release, choice)
    assert (report.outcome, report.verdict) == (Outcome.UNKNOWN, Verdict.NOT_ALL)
    assert [row.name for row in report.ledger.not_checked] == ["consolidated.01.pth"]
    strict = verify(release, choice, VerifyOptions(strict=True))
    assert {subject for _, subject in kinds(strict)} == {"README.md", "magnetar.toml", "consolidated.01.pth"}


@pytest.mark.parametrize(
    "path", [".git/hooks/post-checkout", ".magnetar/x.py", "sub/.git/config", "sub/.magnetar/origin.json", ".GIT/x.py"]
)
def test_what_lies_in_a_state_folder_is_not_passed_over(release: Path, choice: ChosenManifest, path: str) -> None:
    write(release, {path: b"x"})
    assert verify(release, choice).outcome is Outcome.UNKNOWN
    assert kinds(verify(release, choice, VerifyOptions(strict=True))) == [("unexpected", path)]


def test_a_manifest_in_the_folder_that_says_the_same_is_no_file_too_many(release: Path, choice: ChosenManifest) -> None:
    write(release, {"magnetar.toml": to_toml(choice.manifest).encode()})
    report = verify(release, choice, VerifyOptions(strict=True))
    assert (report.outcome, report.notes) == (Outcome.GOOD, ("magnetar.toml",))


def test_md5_alone_is_good_but_weak(release: Path) -> None:
    report = verify(release, ChosenManifest(manifest_of(CONTENT, "md5"), "", Voucher.CATALOG))
    assert (report.outcome, report.verdict) == (Outcome.GOOD, Verdict.WEAK)


def without_digests(choice: ChosenManifest) -> ChosenManifest:
    files = tuple(file.model_copy(update={"digests": ()}) for file in choice.manifest.files or ())
    return dataclasses.replace(choice, manifest=choice.manifest.model_copy(update={"files": files}))


def test_a_file_without_digests_is_not_checked_and_the_whole_is_not_called_good(
    release: Path, choice: ChosenManifest
) -> None:
    report = verify(release, without_digests(choice))
    assert {file.state for file in report.files} == {FileState.NOT_CHECKED}
    assert report.outcome is Outcome.UNKNOWN


def test_pieces_that_were_checked_decide_on_the_files_without_digests(release: Path, choice: ChosenManifest) -> None:
    bare = without_digests(choice)
    whole = verify(release, bare, VerifyOptions(pieces=PieceCheck(frozenset())))
    assert (whole.outcome, whole.verdict) == (Outcome.GOOD, Verdict.WEAK)
    damaged = verify(release, bare, VerifyOptions(pieces=PieceCheck(frozenset({"params.json"}))))
    assert kinds(damaged) == [("wrong-digest", "params.json")]


def test_a_bad_piece_of_a_neighbour_does_not_condemn_a_file_whose_digest_is_right(
    release: Path, choice: ChosenManifest
) -> None:
    report = verify(release, choice, VerifyOptions(pieces=PieceCheck(frozenset({"params.json"}))))
    assert report.outcome is Outcome.GOOD


def test_a_release_whose_files_are_not_known_cannot_be_called_good(release: Path) -> None:
    unknown = manifest_of(CONTENT).model_copy(update={"files": None})
    assert verify(release, ChosenManifest(unknown, "", Voucher.CATALOG)).outcome is Outcome.UNKNOWN


def test_progress_adds_up_to_the_bytes_that_were_read_and_bad_news_is_told(
    release: Path, choice: ChosenManifest
) -> None:
    (release / "params.json").write_bytes(b"[]")
    events: list[Event] = []
    verify(release, choice, emit=events.append)
    assert [event.total for event in events if isinstance(event, Began)] == [3008]
    assert sum(event.amount for event in events if isinstance(event, Moved)) == 3008
    assert [event.finding.kind for event in events if isinstance(event, FoundWrong)] == [FileFault.WRONG_DIGEST]


def test_verify_changes_nothing(release: Path, choice: ChosenManifest) -> None:
    before = {path: path.stat() for path in release.rglob("*")}
    verify(release, choice)
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == {
        path: status.st_mtime_ns for path, status in before.items()
    }


def test_a_missing_folder_is_a_usage_error(tmp_path: Path, choice: ChosenManifest) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        verify(tmp_path / "nowhere", choice)


def test_a_file_that_is_mostly_zeros_is_told_as_such(tmp_path: Path) -> None:
    content = {"weights.bin": os.urandom(100_000)}
    folder = write(tmp_path / "r", {"weights.bin": content["weights.bin"][:20_000] + bytes(80_000)})
    report = verify(folder, ChosenManifest(manifest_of(content), "", Voucher.CATALOG))
    assert kinds(report) == [("zero-filled", "weights.bin")]
    assert "79,520 of its 100,000 bytes are zeros" in report.findings[0].detail


def test_two_files_that_were_swapped_are_told_as_such(tmp_path: Path) -> None:
    content = {"a": b"a" * 100, "b": b"b" * 100}
    folder = write(tmp_path / "r", {"a": content["b"], "b": content["a"]})
    report = verify(folder, ChosenManifest(manifest_of(content), "", Voucher.CATALOG))
    assert kinds(report) == [("swapped", "a"), ("swapped", "b")]
    assert report.findings[0].detail == "holds the bytes of b"


def test_a_renamed_file_and_one_in_other_letters_are_found_where_they_are(
    release: Path, choice: ChosenManifest
) -> None:
    (release / "weights.bin").rename(release / "weights (1).bin")
    (release / "params.json").rename(release / "PARAMS.json")
    report = verify(release, choice)
    assert kinds(report) == [("renamed", "weights.bin"), ("case-changed", "params.json")]
    assert report.findings[0].detail == "is here as weights (1).bin"


def test_a_file_that_is_written_to_while_it_is_read_has_no_digest(tmp_path: Path) -> None:
    content = {"weights.bin": b"w" * 3000}
    folder = write(tmp_path / "r", content)

    def meddle(event: Event) -> None:
        if isinstance(event, Moved):
            os.utime(folder / "weights.bin", ns=(1, 1))

    report = verify(folder, ChosenManifest(manifest_of(content), "", Voucher.CATALOG), emit=meddle)
    assert kinds(report) == [("changed-while-read", "weights.bin")]


def test_a_file_that_goes_away_while_it_is_read_is_a_finding(tmp_path: Path) -> None:
    content = {"weights.bin": bytes(3 * CHUNK_BYTES)}
    folder = write(tmp_path / "r", content)

    def remove(event: Event) -> None:
        if isinstance(event, Moved):
            (folder / "weights.bin").unlink(missing_ok=True)

    report = verify(folder, ChosenManifest(manifest_of(content), "", Voucher.CATALOG), emit=remove)
    assert kinds(report) == [("changed-while-read", "weights.bin")]


def test_fail_fast_stops_at_the_first_finding_and_calls_the_rest_not_checked(tmp_path: Path) -> None:
    content = {f"{number:03}": bytes([number]) * 2000 for number in range(60)}
    folder = write(tmp_path / "r", {**content, "000": b"?" * 2000})
    report = verify(folder, ChosenManifest(manifest_of(content), "", Voucher.CATALOG), VerifyOptions(fail_fast=True))
    assert kinds(report) == [("wrong-digest", "000")]
    assert FileState.NOT_CHECKED in {file.state for file in report.files}


def test_a_file_that_was_left_out_on_purpose_is_neither_missing_nor_good(release: Path, choice: ChosenManifest) -> None:
    (release / "weights.bin").unlink()
    report = verify(release, choice, VerifyOptions(left_out={"weights.bin"}))
    assert report.findings == ()
    assert report.outcome is Outcome.UNKNOWN


def test_an_interrupted_verification_ends_at_once(release: Path, choice: ChosenManifest) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(event: Event) -> None:
        if isinstance(event, Moved):
            raise Interrupted

    with pytest.raises(Interrupted):
        verify(release, choice, emit=interrupt)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 1])
def test_every_damage_is_named_as_what_it_is_at_every_size_around_the_chunk(tmp_path: Path, size: int) -> None:
    whole = {"weights.bin": Random(1).randbytes(size), "other.bin": Random(2).randbytes(size)}
    folder = write(tmp_path / "r", whole)
    choice = ChosenManifest(manifest_of(whole, "blake3"), "", Voucher.CATALOG)
    assert verify(folder, choice).outcome is Outcome.GOOD
    content = whole["weights.bin"]
    damaged = {"grown": content + b"x"}
    if size:
        damaged |= {
            "wrong-digest": content[:-1] + bytes([content[-1] ^ 1]),
            "truncated": content[:-1],
            "swapped": whole["other.bin"],
        }
    if size >= BLOCK_BYTES:  # what is zero-filled is told in the blocks of a file system
        damaged["zero-filled"] = content[: size // 2] + bytes(size - size // 2)
    for kind, changed in damaged.items():
        write(folder, {"weights.bin": changed})
        assert kinds(verify(folder, choice)) == [(kind, "weights.bin")]


@needs.linux  # whose /proc/self/mem is a file that not even root can read from its first byte
def test_a_file_that_cannot_be_read_is_not_called_wrong_and_the_others_are_checked(
    release: Path, choice: ChosenManifest
) -> None:
    unsized = fail_to_read(release / "params.json", choice)
    report = verify(release, unsized)
    assert not report.findings
    assert [file.state for file in report.files] == [FileState.GOOD, FileState.UNREADABLE, FileState.GOOD]
    assert "Input/output error" in report.files[1].detail
    assert report.outcome is Outcome.FAILED


@needs.linux
def test_beside_a_file_that_cannot_be_read_a_wrong_one_is_still_wrong(release: Path, choice: ChosenManifest) -> None:
    unsized = fail_to_read(release / "params.json", choice)
    (release / "weights.bin").write_bytes(b"W" * 3000)
    report = verify(release, unsized)
    assert kinds(report) == [("wrong-digest", "weights.bin")]
    assert report.outcome is Outcome.BAD


@needs.linux
def test_pieces_do_not_call_a_file_wrong_that_the_disk_does_not_give(release: Path, choice: ChosenManifest) -> None:
    unsized = fail_to_read(release / "params.json", choice)
    bare = [file.model_copy(update={"digests": ()}) for file in unsized.manifest.files or ()]
    manifest = unsized.manifest.model_copy(update={"files": tuple(bare)})
    pieces = PieceCheck(frozenset({"params.json", "weights.bin"}))
    report = verify(release, dataclasses.replace(choice, manifest=manifest), VerifyOptions(pieces=pieces))
    assert kinds(report) == [("wrong-digest", "weights.bin")]
    assert [file.state for file in report.files] == [FileState.BAD, FileState.UNREADABLE, FileState.GOOD]


@needs.linux
def test_the_first_finding_ends_a_run_and_a_file_that_cannot_be_read_does_not(
    release: Path, choice: ChosenManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    unsized = fail_to_read(release / "weights.bin", choice)
    report = verify(release, unsized, VerifyOptions(fail_fast=True))
    assert [file.state for file in report.files] == [FileState.UNREADABLE, FileState.GOOD, FileState.GOOD]


@needs.linux
def test_a_file_without_permission_is_not_called_wrong(open_place: Path, choice: ChosenManifest) -> None:
    release = write(open_place / "tiny", CONTENT)
    (release / "params.json").chmod(0)
    (release / "sub").chmod(0)
    with as_nobody():
        report = verify(release, choice)
    (release / "sub").chmod(0o755)
    assert not report.findings
    assert [file.state for file in report.files] == [FileState.GOOD, FileState.UNREADABLE, FileState.UNREADABLE]
    assert all("Permission denied" in file.detail for file in report.files[1:])
    assert report.unreadable_folders == ("sub",)
    assert report.outcome is Outcome.FAILED


@needs.linux
def test_a_link_into_a_folder_without_permission_is_not_called_wrong(open_place: Path, choice: ChosenManifest) -> None:
    release = write(open_place / "tiny", CONTENT)
    blobs = write(open_place / "blobs", {"params": CONTENT["params.json"]})
    (release / "params.json").unlink()
    (release / "params.json").symlink_to(blobs / "params")
    blobs.chmod(0)
    with as_nobody():
        report = verify(release, choice)
    blobs.chmod(0o755)
    assert not report.findings
    assert report.files[1].state is FileState.UNREADABLE


def test_a_link_in_a_circle_leads_to_no_file(release: Path, choice: ChosenManifest) -> None:
    (release / "params.json").unlink()
    (release / "params.json").symlink_to("params.json")
    assert kinds(verify(release, choice)) == [("not-a-file", "params.json")]


def test_a_file_below_what_is_no_folder_is_missing(release: Path, choice: ChosenManifest) -> None:
    (release / "sub" / "tokenizer.model").unlink()
    (release / "sub").rmdir()
    (release / "sub").write_bytes(b"")
    assert kinds(verify(release, choice)) == [("missing", "sub/tokenizer.model")]


WITHOUT_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verify import verify
from magnetar.manifests.schema import load_manifest
choice = ChosenManifest(load_manifest(Path(sys.argv[2])), "", Voucher.CATALOG)
print(verify(Path(sys.argv[1]), choice).outcome)
lowest_free = os.dup(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
report = verify(Path(sys.argv[1]), choice)
print(report.outcome, *(file.state for file in report.files), report.findings, report.unreadable_folders, sep="|")
"""


@needs.linux
def test_a_process_that_may_open_no_further_file_finds_nothing_wrong(
    release: Path, tmp_path: Path, choice: ChosenManifest
) -> None:
    (tmp_path / "tiny.toml").write_text(to_toml(choice.manifest))
    words = [sys.executable, "-c", WITHOUT_DESCRIPTORS, release, tmp_path / "tiny.toml"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["good", "failed|unreadable|unreadable|unreadable|()|('.',)"]


def test_a_folder_that_cannot_be_read_may_hold_what_the_release_does_not_have(
    release: Path, choice: ChosenManifest
) -> None:
    dig_too_deep(release)
    for strict in (False, True):
        report = verify(release, choice, VerifyOptions(strict=strict))
        assert not report.findings
        assert {file.state for file in report.files} == {FileState.GOOD}
        assert [folder[:4] for folder in report.unreadable_folders] == ["dddd"]
        assert report.outcome is Outcome.FAILED
    with pytest.raises(DiskError, match="too long"):
        list_files(release)


def test_a_report_is_a_frozen_value(release: Path, choice: ChosenManifest) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        verify(release, choice).findings = ()  # type: ignore[misc]


def test_pieces_that_could_not_be_hashed_leave_the_files_with_digests_to_be_checked(release: Path) -> None:
    files = list_files(release)
    bare = manifest_of(CONTENT).model_copy(update={"files": (files[0].model_copy(update={"digests": ()}), *files[1:])})
    pieces = PieceCheck(frozenset(), failed="the disk answers no more")
    report = verify(release, ChosenManifest(bare, "", Voucher.CATALOG), VerifyOptions(pieces=pieces))
    assert [file.state for file in report.files] == [FileState.UNREADABLE, *(FileState.GOOD for _ in files[1:])]
    assert report.outcome is Outcome.FAILED
