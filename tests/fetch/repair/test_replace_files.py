"""Whole files by their digests, from mirrors and copies, where there is no torrent."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magnetar.errors import DiskError, NoSpace, Stalled
from magnetar.events import Event, MirrorDropped
from magnetar.fetch.repair.replace_files import replace_files
from magnetar.fetch.request.mirrors import FileMirror, ReleaseMirror
from magnetar.fetch.request.options import FetchOptions
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import ReleaseFile
from tests.fetch.mirror_world import MirrorServer, mirror_server
from tests.fetch.world import NEARBY, contents, flip_byte, write_release

SIZES = {"big.bin": 1_000_003, "sub/small.json": 333, "other.bin": 70_000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "rel", SIZES)


@pytest.fixture
def whole(folder: Path) -> dict[str, bytes]:
    """What the folder held before it was damaged."""
    return contents(folder)


@pytest.fixture
def mirror(whole: dict[str, bytes]) -> Iterator[MirrorServer]:
    with mirror_server(whole) as server:
        yield server


def listed(whole: dict[str, bytes], *paths: str) -> list[ReleaseFile]:
    """The files as a manifest has them."""
    return [
        ReleaseFile(
            path=path,
            size=len(whole[path]),
            digests=tuple(Digest(name, hashlib.new(name, whole[path]).hexdigest()) for name in ("sha256", "md5")),
        )
        for path in paths
    ]


def asking(*servers: MirrorServer, **more: Any) -> FetchOptions:
    mirrors = tuple(ReleaseMirror(f"{server.url}/", named=True) for server in servers)
    return replace(NEARBY, mirrors=mirrors, **more)


def test_damaged_and_missing_files_are_replaced_and_no_other_is_touched(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer
) -> None:
    flip_byte(folder / "big.bin", 500_000)
    shutil.rmtree(folder / "sub")
    before = (folder / "other.bin").stat()
    replaced = replace_files(folder, listed(whole, "big.bin", "sub/small.json"), asking(mirror))
    assert contents(folder) == whole
    assert replaced.files == ("big.bin", "sub/small.json")
    assert replaced.downloaded == mirror.sent == SIZES["big.bin"] + SIZES["sub/small.json"]
    assert (folder / "other.bin").stat() == before
    assert not (folder / ".magnetar" / "repair").exists()


@pytest.mark.parametrize("trouble", [{"fails": 1}, {"ranges": False}])
def test_a_mirror_with_its_moods_is_borne_with(
    folder: Path, whole: dict[str, bytes], trouble: dict[str, object]
) -> None:
    flip_byte(folder / "big.bin", 0)
    with mirror_server(whole, **trouble) as server:
        replace_files(folder, listed(whole, "big.bin"), asking(server))
    assert contents(folder) == whole


def test_a_mirror_that_lies_is_named_and_the_next_is_asked(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer
) -> None:
    flip_byte(folder / "big.bin", 0)
    events: list[Event] = []
    with mirror_server(whole, corrupt=frozenset({"big.bin"})) as liar:
        replace_files(folder, listed(whole, "big.bin"), asking(liar, mirror), events.append)
        (dropped,) = [event for event in events if isinstance(event, MirrorDropped)]
        assert (dropped.host, dropped.url) == ("127.0.0.1", f"{liar.url}/big.bin")
        assert dropped.reason.startswith("what it serves as big.bin is not what")
    assert contents(folder) == whole


def test_what_nobody_serves_is_named_and_stays_as_it_was_while_the_others_are_replaced(
    folder: Path, whole: dict[str, bytes]
) -> None:
    flip_byte(folder / "big.bin", 0)
    flip_byte(folder / "other.bin", 0)
    damaged = (folder / "big.bin").read_bytes()
    with (
        mirror_server({"other.bin": whole["other.bin"]}) as server,
        pytest.raises(Stalled, match=r"nobody served big\.bin.*404") as caught,
    ):
        replace_files(folder, listed(whole, "big.bin", "other.bin"), asking(server))
    assert "--adopt" in caught.value.hint
    assert caught.value.paths == ("big.bin",)
    assert contents(folder) == {**whole, "big.bin": damaged}


def test_files_come_from_parts_and_from_inside_a_tar(folder: Path, whole: dict[str, bytes]) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("rel/other.bin")
        member.size = SIZES["other.bin"]
        archive.addfile(member, io.BytesIO(whole["other.bin"]))
    half = SIZES["big.bin"] // 2
    served = {"r.tar": made.getvalue(), "b-0": whole["big.bin"][:half], "b-1": whole["big.bin"][half:]}
    for path in ("big.bin", "other.bin"):
        flip_byte(folder / path, 99)
    with mirror_server(served) as server:
        parts = FileMirror("big.bin", f"{server.url}/b-{{part}}", parts=2, named=True)
        options = replace(NEARBY, mirrors=(parts, ReleaseMirror(f"{server.url}/r.tar", named=True)))
        replace_files(folder, listed(whole, "big.bin", "other.bin"), options)
    assert contents(folder) == whole


def test_a_copy_on_this_machine_is_taken_before_anybody_is_asked(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "copy"))
    (other / "big.bin").rename(other / "of another name")
    for path in ("big.bin", "other.bin"):
        flip_byte(folder / path, 99)
    flip_byte(other / "other.bin", 5)  # no copy, as its digest tells
    replaced = replace_files(folder, listed(whole, "big.bin", "other.bin"), asking(mirror, adopt=(other,)))
    assert contents(folder) == whole
    assert (replaced.adopted, replaced.downloaded) == (SIZES["big.bin"], SIZES["other.bin"])


def test_a_replacement_that_was_killed_is_read_on_from_where_it_was(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer
) -> None:
    flip_byte(folder / "big.bin", 0)
    damaged = (folder / "big.bin").read_bytes()
    (file,) = listed(whole, "big.bin")
    words = [str(folder), f"{mirror.url}/", "big.bin", str(file.size), str(file.digests[0]), "600000"]
    command = [sys.executable, "-m", "tests.fetch.repair.interrupted_replacement", *words]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (folder / "big.bin").read_bytes() == damaged
    kept = (folder / ".magnetar" / "repair" / "big.bin").stat().st_size
    assert kept >= 262_144
    replaced = replace_files(folder, [file], asking(mirror))
    assert replaced.downloaded == SIZES["big.bin"] - kept
    assert contents(folder) == whole


def test_what_waits_there_and_is_something_else_costs_a_second_reading_and_no_mirror(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer
) -> None:
    flip_byte(folder / "big.bin", 0)
    for waiting in (bytes(700_000), bytes(2_000_000)):
        (folder / ".magnetar" / "repair").mkdir(parents=True, exist_ok=True)
        (folder / ".magnetar" / "repair" / "big.bin").write_bytes(waiting)
        replace_files(folder, listed(whole, "big.bin"), asking(mirror))
        assert contents(folder) == whole


def test_nothing_is_written_through_links_that_a_release_brings(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "big.bin").write_bytes(b"mine")
    (folder / ".magnetar").mkdir()
    (folder / ".magnetar" / "repair").symlink_to(victim)
    with pytest.raises(DiskError, match="symbolic link"):
        replace_files(folder, listed(whole, "big.bin"), asking(mirror))
    (folder / ".magnetar" / "repair").unlink()
    (folder / ".magnetar" / "repair").mkdir()
    (folder / ".magnetar" / "repair" / "big.bin").symlink_to(victim / "big.bin")
    with pytest.raises(DiskError, match="symbolic link"):
        replace_files(folder, listed(whole, "big.bin"), asking(mirror))
    (folder / "other.bin").unlink()
    (folder / "other.bin").symlink_to(victim / "big.bin")
    with pytest.raises(DiskError, match="symbolic link"):
        replace_files(folder, listed(whole, "other.bin"), asking(mirror))
    assert contents(victim) == {"big.bin": b"mine"}


def test_another_name_of_a_damaged_file_keeps_its_bytes(
    folder: Path, whole: dict[str, bytes], mirror: MirrorServer, tmp_path: Path
) -> None:
    flip_byte(folder / "big.bin", 0)
    os.link(folder / "big.bin", tmp_path / "elsewhere")
    replace_files(folder, listed(whole, "big.bin"), asking(mirror))
    assert (tmp_path / "elsewhere").read_bytes() != (folder / "big.bin").read_bytes() == whole["big.bin"]


def test_a_disk_without_room_for_a_whole_file_is_told_before_anybody_is_asked(
    folder: Path, mirror: MirrorServer
) -> None:
    file = ReleaseFile(path="big.bin", size=1 << 60, digests=(Digest("sha256", "0" * 64),))
    with pytest.raises(NoSpace, match="until it is proven") as caught:
        replace_files(folder, [file], asking(mirror))
    assert caught.value.needed == 1 << 60
    assert caught.value.free is not None
    assert mirror.asked == []
