import os
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.fetch.download import disk_checks
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.fetch.torrent.metadata import Metadata, TorrentFile
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER
from tests.fetch.world import NEARBY, SIZES, contents, write_release
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[3]
FETCHER = "tests.fetch.download.interrupted_fetch"
BIG = "consolidated.00.pth"


def metadata_of(**sizes: int) -> Metadata:
    files = tuple(TorrentFile(PurePosixPath(name), size) for name, size in sizes.items())
    return Metadata("r", "1" * 40, "", 16384, 1, files, (), (), private=False)


def run_fetch(seeding: Seeding, parent: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", FETCHER, str(seeding.magnet), str(parent), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("place", [BIG, "tok"])
def test_a_symbolic_link_in_the_releases_place_is_not_written_through(
    tmp_path: Path, published: Seeding, place: str
) -> None:
    victim = write_release(tmp_path / "victim", {"file": 10})
    folder = tmp_path / "new" / "mixtral-tiny"
    folder.mkdir(parents=True)
    (folder / place).symlink_to(victim if place == "tok" else victim / "file")
    with pytest.raises(DiskError, match=f"{place}: is a symbolic link") as caught:
        fetch(published.magnet, tmp_path / "new", options=NEARBY)
    assert caught.value.hint
    assert contents(victim) == contents(write_release(tmp_path / "again", {"file": 10}))


def test_a_symbolic_link_in_the_folders_place_is_not_followed(tmp_path: Path, published: Seeding) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mixtral-tiny").symlink_to(tmp_path / "victim")
    with pytest.raises(DiskError, match="symbolic link"):
        fetch(published.magnet, tmp_path / "new", options=NEARBY)
    assert list((tmp_path / "victim").iterdir()) == []


def test_a_hard_link_is_parted_before_its_file_is_mended(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    folder = tmp_path / "new" / "mixtral-tiny"
    folder.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(payload[BIG][:-1] + bytes([payload[BIG][-1] ^ 1]))
    before = victim.read_bytes()
    os.link(victim, folder / BIG)
    fetched = fetch(published.magnet, tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == payload
    assert victim.read_bytes() == before


def test_a_hard_link_to_a_good_file_stays_one(tmp_path: Path, published: Seeding, payload: dict[str, bytes]) -> None:
    folder = tmp_path / "new" / "mixtral-tiny"
    folder.mkdir(parents=True)
    (tmp_path / "mine").write_bytes(payload[BIG])
    os.link(tmp_path / "mine", folder / BIG)
    fetched = fetch(published.magnet, tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == payload
    assert (folder / BIG).samefile(tmp_path / "mine")
    assert fetched.downloaded < 1.1 * (sum(SIZES.values()) - SIZES[BIG]) + 32768


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_in_a_files_place_is_named_and_left(tmp_path: Path, published: Seeding, kind: str) -> None:
    path = tmp_path / "mixtral-tiny" / BIG
    path.parent.mkdir()
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(UsageError, match=f"{BIG}: is in the way"):
        fetch(published.magnet, tmp_path, options=NEARBY)


def test_a_disk_that_is_too_small_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_checks.shutil, "disk_usage", lambda _folder: usage(10**6, 0, 999))
    disk_checks.check_space(tmp_path, metadata_of(a=900, b=99))
    with pytest.raises(NoSpace, match="1,000 bytes are still to come, and only 999 are free") as caught:
        disk_checks.check_space(tmp_path, metadata_of(a=900, b=100))
    assert "make 1 bytes of space" in caught.value.hint
    assert (caught.value.path, caught.value.needed, caught.value.free) == (tmp_path, 1000, 999)
    with pytest.raises(
        NoSpace, match="999 bytes are still to come and 50 will be needed for the converted copy"
    ) as caught:
        disk_checks.check_space(tmp_path, metadata_of(a=900, b=99), 50)
    assert "make 50 bytes of space" in caught.value.hint
    assert (caught.value.needed, caught.value.free) == (1049, 999)


def test_what_is_on_disk_already_needs_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_checks.shutil, "disk_usage", lambda _folder: usage(10**6, 0, 0))
    (tmp_path / "a").write_bytes(b"x" * 900)
    disk_checks.check_space(tmp_path, metadata_of(a=900))
    os.truncate(tmp_path / "a", 0)
    os.truncate(tmp_path / "a", 10**6)  # all hole
    with pytest.raises(NoSpace):
        disk_checks.check_space(tmp_path, metadata_of(a=10**6))


def test_a_file_larger_than_fat_allows_is_refused_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_checks, "_file_system", lambda _folder: "vfat")
    with pytest.raises(NoSpace, match="4,294,967,296 bytes, and the file system allows 4,294,967,295") as caught:
        disk_checks.check_space(tmp_path, metadata_of(a=1 << 32))
    assert (caught.value.path, caught.value.needed, caught.value.free) == (tmp_path / "a", 1 << 32, (1 << 32) - 1)


def test_a_release_of_colliding_names_is_refused_where_case_does_not_count(tmp_path: Path) -> None:
    metadata = metadata_of(Weights=1, weights=1)
    disk_checks.check_destination(tmp_path, metadata)
    (tmp_path / STATE_FOLDER.upper()).mkdir()  # what such a file system shows once .magnetar is there
    with pytest.raises(DiskError, match="'Weights'"):
        disk_checks.check_destination(tmp_path, metadata)


def test_a_limit_on_file_size_is_seen_before_the_first_byte(tmp_path: Path, release: Path) -> None:
    (tmp_path / "r.torrent").write_bytes(create_torrent(release))
    code = (
        "import resource, sys; from pathlib import Path; from magnetar.errors import NoSpace\n"
        "from magnetar.fetch.download.fetch import fetch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))\n"
        "try: fetch(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except NoSpace as error: print(error.message)"
    )
    command = [sys.executable, "-c", code, tmp_path / "r.torrent", tmp_path / "new"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert f"{BIG}: has {SIZES[BIG]:,} bytes, and this process may write 1,000,000" in done.stdout
    assert contents(tmp_path / "new" / release.name) == {}


def test_a_write_that_fails_half_way_ends_the_fetch_at_once_and_it_resumes(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    began = time.monotonic()
    done = run_fetch(published, tmp_path, "3000000", "1500000")
    assert done.returncode == 4, done.stderr
    assert f"NoSpace: {tmp_path / 'mixtral-tiny' / BIG}: cannot be written" in done.stdout
    assert time.monotonic() - began < NEARBY.stall_timeout  # it did not wait for more to come
    again = fetch(published.magnet, tmp_path, options=NEARBY)
    assert contents(again.folder) == payload
    assert again.downloaded > 0


def test_a_full_disk_ends_the_fetch_at_once_and_it_resumes_after_space_was_made(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    with small_disk(tmp_path / "disk", "5m") as parent:
        ballast = parent / "ballast"
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                FETCHER,
                str(published.magnet),
                str(parent),
                "2000000",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        next(line for line in process.stdout if int(line) > 200_000)
        ballast.write_bytes(bytes(3_600_000))  # another program takes what was free
        said = process.stdout.read()
        assert process.wait(PATIENCE) == 4
        process.stdout.close()
        assert "NoSpace" in said
        ballast.unlink()
        again = fetch(published.magnet, parent, options=NEARBY)
        assert contents(again.folder) == payload


def test_a_folder_that_may_not_be_written_to_is_said_so(tmp_path: Path, published: Seeding) -> None:
    if os.geteuid() == 0:
        pytest.skip("needs a user who is not root: run the tests as one")
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError):
        fetch(published.magnet, tmp_path, options=NEARBY)


def test_a_parent_that_is_a_file_is_the_disks_no(tmp_path: Path, published: Seeding) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((DiskError, UsageError)):
        fetch(published.magnet, tmp_path / "file", options=NEARBY)


def test_torrent_sizes_that_no_disk_can_hold_are_refused(tmp_path: Path, release: Path) -> None:
    metadata = read_torrent(create_torrent(release))
    huge = replace(metadata, files=(TorrentFile(PurePosixPath("a"), 1 << 62),))
    with pytest.raises(NoSpace):
        disk_checks.check_space(tmp_path, huge)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own, where this user may mount one."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs root, to mount a small disk: run the tests as root in a container")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
