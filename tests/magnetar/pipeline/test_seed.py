from pathlib import Path
from shutil import copytree

from magnetar.events import Event, Remarked
from magnetar.fetch.link.magnet import parse_magnet
from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.seed.seed import Seeding
from magnetar.manifests.catalog import find_release
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.seed import known_link, seed_releases


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


def test_a_release_whose_files_have_other_names_is_told_from_the_release_by_a_remark(tmp_path: Path) -> None:
    renamed = copytree(bundled_release(), tmp_path / "mine")
    (renamed / "consolidated.00.pth").rename(renamed / "weights.pth")
    seen, remarks = list[Seeding](), list[str]()

    def emit(event: Event) -> None:
        if isinstance(event, Remarked):
            remarks.append(event.text)

    options = SeedOptions(loopback=True, seed_time=0)
    seed_releases([renamed], options, seen.append, lambda _served: None, emit)
    assert len(seen) == 1
    assert any("candidate of austen-moe" in remark and "nor is its infohash" in remark for remark in remarks)
