import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import libtorrent as lt
import pytest

from magnetar.errors import ExitCode, TorrentError
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.download.fetch_plan import plan_fetch
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.seed.seed import Seeding
from magnetar.manifests.hashing.digests import Digest
from tests.fetch.neighbours import ALONE
from tests.fetch.torrent.hostile import corpus, encode, file
from tests.fetch.world import NEARBY, contents

ROOT = Path(__file__).parents[3]
SECONDS, MEGABYTES = 1200, 768
"""For the whole corpus, beyond what the interpreter and the corpus itself take."""

MAX_EFFORT = 1000
"""Units of ``tests.effort`` that reading one torrent may take. The most that is needed is 70."""


def test_no_hostile_torrent_is_read_or_takes_more_than_its_share() -> None:
    command = [sys.executable, "-m", "tests.fetch.torrent.hostile", str(SECONDS), str(MEGABYTES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = {result["name"]: result for result in map(json.loads, done.stdout.splitlines())}
    assert list(results) == [name for name, _ in corpus()]
    for name, result in results.items():
        assert result["effort"] < MAX_EFFORT, name
        assert bool(result["refused"]) != name.startswith("read: "), result
    assert results["read: a hundred thousand trackers"]["trackers"] == 100
    assert results["read: trackers that are none"]["trackers"] == 1
    assert results["read: web seeds that are files"]["web_seeds"] == ["http://ok.example/x"]


@contextmanager
def serving_metadata(torrent: bytes, folder: Path) -> Iterator[Magnet]:
    """A peer that sends the metadata of a torrent, whatever it says."""
    session = lt.session(ALONE)
    params = lt.load_torrent_buffer(torrent)
    params.save_path = str(folder)
    params.flags = lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode
    handle = session.add_torrent(params)
    yield Magnet(str(params.ti.info_hashes().v1), peers=(("127.0.0.1", session.listen_port()),))
    del handle, session


@pytest.mark.parametrize(
    "torrent",
    [encode(files=[file(b".magnetar", b"origin.json")]), encode(files=[file(b"..", b"x")]), encode(name=b".git")],
    ids=["our state", "out of the folder", "a repository"],
)
def test_hostile_metadata_from_a_peer_is_refused_before_anything_is_written(tmp_path: Path, torrent: bytes) -> None:
    with serving_metadata(torrent, tmp_path / "theirs") as magnet:
        with pytest.raises(TorrentError) as caught:
            fetch(magnet, tmp_path / "new", options=NEARBY)
        with pytest.raises(TorrentError):
            plan_fetch(magnet, tmp_path / "new", options=NEARBY)
    assert caught.value.exit_code is ExitCode.MALFORMED
    assert not (tmp_path / "new").exists()


def test_metadata_that_is_not_what_was_pinned_is_refused(
    tmp_path: Path, published: Seeding, payload: dict[str, bytes]
) -> None:
    wrong = replace(NEARBY, info_digest=Digest("sha256", "0" * 64))
    with pytest.raises(TorrentError, match="was pinned") as caught:
        fetch(published.magnet, tmp_path / "new", options=wrong)
    assert "nothing was written" in caught.value.hint
    assert not (tmp_path / "new").exists()
    fetched = fetch(published.magnet, tmp_path / "new", options=NEARBY)
    info = lt.bdecode((fetched.folder / ".magnetar" / "release.torrent").read_bytes())[b"info"]
    right = replace(NEARBY, info_digest=Digest("sha256", hashlib.sha256(lt.bencode(info)).hexdigest()))
    assert contents(fetch(published.magnet, tmp_path / "new", options=right).folder) == payload


def test_a_link_whose_second_hash_is_of_another_torrent_is_refused(tmp_path: Path, published: Seeding) -> None:
    crossed = replace(published.magnet, infohash_v2="0" * 64)
    with pytest.raises(TorrentError):
        fetch(crossed, tmp_path, options=NEARBY)
    assert list(tmp_path.iterdir()) == []
