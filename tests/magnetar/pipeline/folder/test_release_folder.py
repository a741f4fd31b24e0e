import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import TorrentError, UsageError
from magnetar.fetch.download.state_folder import State
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.files import STATE_FOLDER
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.folder.layout import KEPT_TORRENT, publication_folder
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.release_folder import ReleaseFolder, require_folder

ROOT = Path(__file__).parents[4]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_release(), tmp_path / "austen-moe"))


def test_a_plain_folder_has_names_and_no_notes(release: Path) -> None:
    folder = ReleaseFolder.read(release)
    assert folder.names == ("RELEASE", "consolidated.00.pth", "params.json", "tokenizer.model")
    assert folder.weights == ("consolidated.00.pth",)
    assert folder.side_files == ("RELEASE", "params.json", "tokenizer.model")
    assert (folder.conversion, folder.origin, folder.torrent, folder.metadata, folder.published) == (
        None, None, b"", None, None,
    )  # fmt: skip


def test_a_file_of_weights_stands_for_the_folder_that_it_lies_in(release: Path) -> None:
    folder = ReleaseFolder.read(release / "consolidated.00.pth")
    assert (folder.root, folder.is_folder) == (release, False)
    assert folder.names == ReleaseFolder.read(release).names


def test_a_path_where_nothing_is_and_a_file_where_a_folder_must_be_are_refused(release: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        ReleaseFolder.read(release / "nothing")
    with pytest.raises(UsageError, match="there is no such folder"):
        require_folder(release / "params.json", hint="name a folder")


def test_the_notes_of_a_download_and_of_a_conversion_are_read(release: Path, tmp_path: Path) -> None:
    torrent = create_torrent(release)
    State(release, read_torrent(torrent)).keep_torrent(torrent, complete=True)
    fetched = ReleaseFolder.read(release)
    assert fetched.torrent == torrent
    assert fetched.metadata == read_torrent(torrent)
    assert fetched.origin is not None
    assert fetched.origin.complete
    convert(ConvertRequest(release, tmp_path / "hf", release="austen-moe", verify=False))
    converted = ReleaseFolder.read(tmp_path / "hf")
    assert converted.conversion is not None
    assert (converted.conversion.release, converted.conversion.done) == ("austen-moe", True)


def test_a_damaged_torrent_is_an_error_only_for_whoever_asks_what_it_says(release: Path) -> None:
    (release / STATE_FOLDER).mkdir()
    (release / STATE_FOLDER / KEPT_TORRENT).write_bytes(b"nonsense")
    folder = ReleaseFolder.read(release)
    assert folder.torrent == b"nonsense"
    with pytest.raises(TorrentError):
        _ = folder.metadata


def test_what_is_in_the_folder_says_where_to_look_and_never_adds_trust(release: Path) -> None:
    (release / "unknown.bin").write_bytes(b"x")
    for path in release.iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    beside = publication_folder(release)
    beside.mkdir()
    manifest = 'format = 1\nname = "mine"\ntitle = "mine"\npublisher = "me"\nlicence = "MIT"\n'
    (beside / "mine.toml").write_text(manifest)
    choice = ReleaseFolder.read(release).choose()
    assert (choice.manifest.name, choice.voucher) == ("mine", Voucher.FOLDER)


def test_a_folder_without_a_torrent_is_read_without_libtorrent_and_without_numpy(release: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from magnetar.pipeline.folder.release_folder import ReleaseFolder\n"
        "ReleaseFolder.read(Path(sys.argv[1])).choose('austen-moe')\n"
        "print({'libtorrent', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script, release], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("reader", ["read_conversion", "read_kept_torrent", "read_origin", "choose_manifest"])
def test_the_folder_is_read_in_one_place_and_everybody_else_takes_what_was_read(reader: str) -> None:
    """Besides the parts that keep these notes: a conversion reads its own when it goes on, and a download too."""
    callers = {
        path.relative_to(ROOT).as_posix()
        for room in ("magnetar/cli", "magnetar/pipeline", "magnetar/render", "model", "manifests")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == reader
    }
    assert callers == {"magnetar/pipeline/folder/release_folder.py"}
