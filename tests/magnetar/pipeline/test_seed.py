from pathlib import Path
from shutil import copytree

from magnetar.fetch.link.magnet import parse_magnet
from magnetar.manifests.catalog import find_release
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.seed import known_link


def test_a_folder_with_every_file_of_a_release_is_known_by_its_link(tmp_path: Path) -> None:
    copy = copytree(bundled_release(), tmp_path / "mine")
    manifest = find_release("austen-moe")
    assert manifest.magnet is not None
    assert known_link(ReleaseFolder.read(copy)) == parse_magnet(manifest.magnet)


def test_a_folder_that_lacks_a_file_or_has_another_size_is_not_taken_for_the_release(tmp_path: Path) -> None:
    shorter = copytree(bundled_release(), tmp_path / "shorter")
    (shorter / "RELEASE").write_text("another")
    lacking = copytree(bundled_release(), tmp_path / "lacking")
    (lacking / "params.json").unlink()
    assert known_link(ReleaseFolder.read(shorter)) is None
    assert known_link(ReleaseFolder.read(lacking)) is None


def test_a_folder_of_something_else_is_no_release(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert known_link(ReleaseFolder.read(tmp_path)) is None
