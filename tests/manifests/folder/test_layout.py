from pathlib import Path

import pytest

from magnetar.errors import DiskError
from magnetar.manifests.folder.layout import payload_paths, publication_folder, published_manifest
from tests.manifests.conftest import dig_too_deep, write

FILES = {"b": b"", "a/z": b"", "a.b": b"", "sub/deep/x": b""}
STATE = {".magnetar/origin.json": b"", ".git/HEAD": b"", "sub/.magnetar/x": b"", "magnetar.toml": b""}


def test_the_payload_is_every_file_but_those_of_state_folders(tmp_path: Path) -> None:
    write(tmp_path, FILES | STATE)
    assert list(payload_paths(tmp_path)) == ["a.b", "b", "a/z", "sub/deep/x"]


def test_the_folders_own_manifest_is_listed_only_when_asked_for_and_only_at_the_top(tmp_path: Path) -> None:
    write(tmp_path, {"magnetar.toml": b"", "sub/magnetar.toml": b""})
    assert list(payload_paths(tmp_path)) == ["sub/magnetar.toml"]
    assert list(payload_paths(tmp_path, own_manifest=True)) == ["magnetar.toml", "sub/magnetar.toml"]


def test_a_link_to_a_folder_is_listed_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "r", {"a": b""})
    write(tmp_path / "elsewhere", {"secret": b""})
    (tmp_path / "r" / "link").symlink_to(tmp_path / "elsewhere")
    assert list(payload_paths(tmp_path / "r")) == ["a", "link"]


def test_a_folder_that_cannot_be_read_is_told_or_raised(tmp_path: Path) -> None:
    write(tmp_path, {"a": b""})
    dig_too_deep(tmp_path)
    refused: list[str] = []
    assert list(payload_paths(tmp_path, refused=refused.append)) == ["a"]
    assert len(refused) == 1
    assert refused[0].startswith("ddd")
    with pytest.raises(DiskError):
        list(payload_paths(tmp_path))


def test_what_is_published_about_a_folder_lies_beside_it(tmp_path: Path) -> None:
    assert publication_folder(tmp_path / "r" / ".") == tmp_path / "r.magnetar"
    assert published_manifest(tmp_path / "r") is None
    write(tmp_path / "r.magnetar", {"one.toml": b"", "one.torrent": b""})
    assert published_manifest(tmp_path / "r") == tmp_path / "r.magnetar" / "one.toml"


def test_of_several_published_manifests_none_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "r.magnetar", {"one.toml": b"", "two.toml": b""})
    assert published_manifest(tmp_path / "r") is None
