"""What was published with each format that there has been is read, checked and proven for ever."""

import shutil
from pathlib import Path

import pytest

from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.manifests.schema import load_manifest
from tests.magnetar.conftest import Run

PUBLISHED = Path(__file__).parents[2] / "manifests" / "published"


@pytest.mark.parametrize("number", [path.name for path in sorted(PUBLISHED.iterdir())])
def test_what_was_published_long_ago_still_holds(magnetar: Run, tmp_path: Path, number: str) -> None:
    home = Path(shutil.copytree(PUBLISHED / number, tmp_path / number))
    manifest = load_manifest(home / "tiny.toml")
    torrent = read_torrent((home / "tiny.torrent").read_bytes())
    assert (manifest.infohash_v1, manifest.infohash_v2) == (torrent.infohash_v1, torrent.infohash_v2)
    words = ("--manifest", home / "tiny.toml", "--public-key", home / "tiny.toml.pub")
    shown = magnetar("verify", home / "tiny", *words)
    assert shown.code == 0, shown.err
    assert "signed by key" in shown.out
    assert magnetar("verify", home / "tiny", "--manifest", home / "SHA256SUMS").code == 0


def test_the_folder_of_long_ago_has_the_infohash_that_it_had(tmp_path: Path) -> None:
    home = Path(shutil.copytree(PUBLISHED / "1", tmp_path / "1"))
    made = create_torrent(home / "tiny", TorrentOptions(trackers=("udp://tracker.example:1337/announce",)))
    assert made == (home / "tiny.torrent").read_bytes()
