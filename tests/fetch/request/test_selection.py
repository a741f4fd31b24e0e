from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from magnetar.errors import DiskError, NoSpace, UsageError
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.request.selection import left_out, narrow
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.metadata import Metadata, TorrentFile
from magnetar.files import STATE_FOLDER
from magnetar.manifests.folder.origin import read_origin
from tests.fetch.world import HYBRID, NEARBY, V1, V2, contents, flip_byte, publish, serve, write_release

SIZES = {"a.bin": 40_001, "b.bin": 70_003, "sub/c.json": 333, "sub/d.bin": 50_007, "z": 16_390}
ONE = replace(NEARBY, include=("b.bin",))


@pytest.fixture(scope="module", params=[V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeding]:
    folder = write_release(tmp_path_factory.mktemp("parts") / "parts", SIZES)
    publish(folder, request.param)
    with serve(folder) as seeding:
        yield seeding


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(write_release(tmp_path_factory.mktemp("whole") / "parts", SIZES))


def only(whole: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: whole[name] for name in sorted(names)}


def metadata_of(*paths: str) -> Metadata:
    files = tuple(TorrentFile(PurePosixPath(path), 1) for path in paths)
    return Metadata("r", "1" * 40, "", 16384, 1, files, (), (), private=False)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.json", "x/b.json", "x/y/c.bin"]),
        (("*.json",), (), ["a.json", "x/b.json"]),
        (("x/*",), (), ["x/b.json", "x/y/c.bin"]),
        (("x/",), ("*.bin",), ["x/b.json"]),
        ((), ("x/y/c.bin", "a.*"), ["x/b.json"]),
        (("c.bin",), (), ["x/y/c.bin"]),
    ],
)
def test_globs_are_held_against_paths_and_names(
    include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    metadata = metadata_of("a.json", "x/b.json", "x/y/c.bin")
    wanted = narrow(metadata, include, exclude)
    assert [str(file.path) for file in wanted.files] == expected
    assert left_out(metadata, wanted) == {str(file.path) for file in metadata.files} - set(expected)


def test_a_selection_of_nothing_names_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        narrow(metadata_of("a", "b/c"), ("*.safetensors",), ())
    assert "a, b/c" in caught.value.hint


def test_only_what_was_selected_is_fetched_and_only_that_is_called_complete(
    tmp_path: Path, parts: Seeding, whole: dict[str, bytes]
) -> None:
    fetched = fetch(parts.magnet, tmp_path, options=ONE)
    assert contents(fetched.folder) == only(whole, "b.bin")
    assert fetched.complete
    assert fetched.left_out == ("a.bin", "sub/c.json", "sub/d.bin", "z")
    assert fetched.downloaded < 70_003 + 4 * 16384
    origin = read_origin(fetched.folder)
    assert origin is not None
    assert not origin.complete


def test_a_selection_that_is_here_is_checked_and_not_fetched_again(tmp_path: Path, parts: Seeding) -> None:
    fetch(parts.magnet, tmp_path, options=ONE)
    alone = replace(parts.magnet, peers=())
    assert fetch(alone, tmp_path, options=ONE).downloaded == 0


def test_a_selection_can_be_widened_and_the_rest_costs_no_more_than_it_must(
    tmp_path: Path, parts: Seeding, whole: dict[str, bytes]
) -> None:
    first = fetch(parts.magnet, tmp_path, options=ONE)
    fetched = fetch(parts.magnet, tmp_path, options=NEARBY)
    assert contents(fetched.folder) == whole
    assert fetched.left_out == ()
    assert fetched.downloaded <= sum(SIZES.values()) - first.downloaded + 6 * 16384
    assert not list((fetched.folder / STATE_FOLDER).glob(".*parts"))
    assert fetch(replace(parts.magnet, peers=()), tmp_path, options=NEARBY).downloaded == 0


def test_damage_in_a_selection_is_mended_and_damage_beside_it_is_left_alone(
    tmp_path: Path, parts: Seeding, whole: dict[str, bytes]
) -> None:
    fetched = fetch(parts.magnet, tmp_path, options=NEARBY)
    flip_byte(fetched.folder / "b.bin", 35_000)
    flip_byte(fetched.folder / "sub" / "d.bin", 30_000)
    again = fetch(parts.magnet, tmp_path, options=ONE)
    assert 0 < again.downloaded <= 2 * 16384
    assert (fetched.folder / "b.bin").read_bytes() == whole["b.bin"]
    assert (fetched.folder / "sub" / "d.bin").read_bytes() != whole["sub/d.bin"]


def test_a_link_in_the_place_of_a_file_that_was_left_out_is_not_written_through(tmp_path: Path, parts: Seeding) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "new" / "parts").mkdir(parents=True)
    (tmp_path / "new" / "parts" / "a.bin").symlink_to(tmp_path / "victim")
    with pytest.raises(DiskError, match=r"a\.bin: is a symbolic link"):
        fetch(parts.magnet, tmp_path / "new", options=ONE)
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_hard_link_in_the_place_of_a_file_that_was_left_out_is_not_written_through(
    tmp_path: Path, parts: Seeding, whole: dict[str, bytes]
) -> None:
    folder = tmp_path / "new" / "parts"
    folder.mkdir(parents=True)
    (tmp_path / "victim").write_bytes(bytes(40_001))
    (folder / "a.bin").hardlink_to(tmp_path / "victim")
    fetched = fetch(parts.magnet, tmp_path / "new", options=ONE)
    assert (fetched.folder / "b.bin").read_bytes() == whole["b.bin"]
    assert (tmp_path / "victim").read_bytes() == bytes(40_001)


def test_only_what_is_wanted_needs_space(tmp_path: Path, parts: Seeding, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    from magnetar.fetch.download import disk_checks

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_checks.shutil, "disk_usage", lambda _folder: usage(10**6, 0, 80_000))
    with pytest.raises(NoSpace):
        fetch(parts.magnet, tmp_path, options=NEARBY)
    assert fetch(parts.magnet, tmp_path, options=ONE).complete


def test_a_selection_of_an_empty_file_arrives(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", {"a": 50_000, "empty": 0})
    with serve(release) as seeding:
        fetched = fetch(seeding.magnet, tmp_path / "new", options=FetchOptions(loopback=True, include=("empty",)))
    assert contents(fetched.folder) == {"empty": b""}
