from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from magnetar.errors import MetadataTimeout
from magnetar.events import Event
from magnetar.fetch.download import disk_checks, fetch_plan
from magnetar.fetch.download.fetch import fetch
from magnetar.fetch.download.fetch_plan import FetchPlan, plan_fetch
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.seed.seed import Seeding
from magnetar.fetch.torrent.create_torrent import create_torrent
from tests.fetch.world import NEARBY, SIZES
from tests.patience import patiently

TOTAL = sum(SIZES.values())


@pytest.fixture(autouse=True)
def short_lookout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_plan, "LOOKOUT", 0.3)


def test_a_dry_run_shows_files_sizes_space_and_peers_and_writes_nothing(
    tmp_path: Path, published: Seeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []

    def look(seconds: float) -> FetchPlan:
        monkeypatch.setattr(fetch_plan, "LOOKOUT", seconds)
        return plan_fetch(published.magnet, tmp_path / "new", options=NEARBY, emit=events.append)

    found = patiently(look, lambda found: found.seeds)
    assert found.folder == tmp_path / "new" / "mixtral-tiny"
    assert {str(file.path): file.size for file in found.wanted} == SIZES
    assert (found.missing, found.wanted_size, found.left_out) == (TOTAL, TOTAL, ())
    assert found.free > 0
    assert (found.peers, found.seeds) == (1, 1)
    assert found.obstacles == ()
    assert events
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_speaks_of_what_is_selected_and_of_what_is_here(tmp_path: Path, published: Seeding) -> None:
    fetch(published.magnet, tmp_path, options=replace(NEARBY, include=("RELEASE", "tok/*")))
    before = sorted(tmp_path.rglob("*"))
    options = replace(NEARBY, exclude=("*.pth", "params.json"))
    found = plan_fetch(replace(published.magnet, peers=()), tmp_path, options=options)
    assert found.left_out == ("consolidated.00.pth", "params.json")
    assert (found.missing, found.wanted_size) == (0, SIZES["RELEASE"] + SIZES["tok/tokenizer.model"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_says_what_would_stand_in_the_way(
    tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_checks.shutil, "disk_usage", lambda _folder: usage(10**6, 0, 999))
    (tmp_path / "new" / release.name).mkdir(parents=True)
    (tmp_path / "new" / release.name / "params.json").symlink_to(tmp_path)
    found = plan_fetch(create_torrent(release), tmp_path / "new", options=NEARBY)
    assert (found.free, found.peers) == (999, 0)
    link, space = found.obstacles
    assert "params.json: is a symbolic link" in link
    assert "bytes are still to come, and only 999 are free" in space
    assert "0 peers" in found.seen


def test_a_dry_run_of_a_dead_link_ends_in_time(tmp_path: Path) -> None:
    with pytest.raises(MetadataTimeout):
        plan_fetch(Magnet("1" * 40), tmp_path / "new", options=replace(NEARBY, metadata_timeout=1))
    assert not (tmp_path / "new").exists()
