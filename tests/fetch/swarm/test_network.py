import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from magnetar.errors import MetadataTimeout, OutsideError, Stalled, UsageError
from magnetar.events import Event, Moved, Remarked, TrackerAnswered
from magnetar.fetch.download.fetch import Fetched, fetch
from magnetar.fetch.request.options import FetchOptions, Network, SeedOptions
from magnetar.fetch.seed.seed import Seeding, seed
from magnetar.fetch.swarm import discovery, libtorrent_session, libtorrent_settings, stall_watch
from magnetar.fetch.swarm.libtorrent_settings import settings_of
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent
from tests.fetch.neighbours import Proxy, Tracker, dht_node, free_port, knowing, peer_over_utp_only, refusing
from tests.fetch.world import NEARBY, V1, contents, publish, serve, write_release
from tests.patience import GROWING, PATIENCE, wait_until

SIZES = {"a.bin": 300_000, "b": 7}
HERE = FetchOptions(
    dht=False, fallback_trackers=False, listen="127.0.0.1:0", metadata_timeout=PATIENCE, stall_timeout=PATIENCE
)
"""As in public, but alone."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeding]:
    with serve(write_release(tmp_path_factory.mktemp("small") / "small", SIZES)) as seeding:
        yield seeding


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(write_release(tmp_path_factory.mktemp("content") / "small", SIZES))


def test_a_tracker_leads_to_a_peer_and_its_answer_is_told(
    tmp_path: Path, small: Seeding, content: dict[str, bytes]
) -> None:
    events: list[Event] = []
    with closing(Tracker(knowing(small.port))) as tracker:
        magnet = replace(small.magnet, peers=())
        options = replace(NEARBY, trackers=(tracker.url,))
        fetched = fetch(magnet, tmp_path, options=options, emit=events.append)
    assert contents(fetched.folder) == content
    answers = {(event.url, event.peers, event.error) for event in events if isinstance(event, TrackerAnswered)}
    assert (tracker.url, 1, "") in answers


def test_what_each_tracker_answered_is_in_the_diagnosis(tmp_path: Path, small: Seeding) -> None:
    with closing(Tracker(refusing(b"go away"))) as tracker:
        dead = f"http://127.0.0.1:{free_port()}/announce"
        magnet = replace(small.magnet, peers=(), trackers=(dead, tracker.url))
        answers = f"{tracker.url}: go away", f"{dead}: Connection refused"
        for seconds in GROWING:
            with pytest.raises(MetadataTimeout) as caught:
                fetch(magnet, tmp_path, options=replace(NEARBY, metadata_timeout=seconds))
            if all(answer in caught.value.message for answer in answers):
                return
    pytest.fail(caught.value.message)


def test_a_dead_tracker_first_does_not_keep_the_living_one_waiting(
    tmp_path: Path, small: Seeding, content: dict[str, bytes]
) -> None:
    with closing(Tracker(knowing(small.port))) as tracker:
        dead = tuple(f"http://127.0.0.1:{free_port()}/announce" for _ in range(5))
        magnet = replace(small.magnet, peers=(), trackers=(*dead, tracker.url))
        assert contents(fetch(magnet, tmp_path, options=NEARBY).folder) == content


@pytest.mark.parametrize("private", [True, False])
def test_fallback_trackers_are_asked_about_a_public_torrent_and_never_about_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    torrent = publish(write_release(tmp_path / "r", SIZES), V1, private=private)
    assert read_torrent(torrent).private == private
    with closing(Tracker(knowing(1))) as fallback, closing(Tracker(knowing(1))) as own:
        monkeypatch.setattr(discovery, "fallback_trackers", lambda: (fallback.url,))
        options = replace(HERE, fallback_trackers=True, trackers=(own.url,))
        for seconds in GROWING:
            with pytest.raises(Stalled):
                fetch(torrent, tmp_path / "new", options=replace(options, stall_timeout=seconds))
            if own.asked and (private or fallback.asked):
                break
    assert own.asked
    assert bool(fallback.asked) != private


@pytest.mark.parametrize("private", [True, False])
def test_a_seeder_tells_fallback_trackers_of_a_public_torrent_and_never_of_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    release = write_release(tmp_path / "r", SIZES)
    publish(release, V1, private=private)
    with closing(Tracker(knowing(1))) as fallback, closing(Tracker(knowing(1))) as own:
        monkeypatch.setattr(discovery, "fallback_trackers", lambda: (fallback.url,))
        with serve(release, loopback=False, dht=False, listen="127.0.0.1:0", trackers=(own.url,)):
            wait_until(lambda: own.asked and (private or fallback.asked), "an announcement")
    assert bool(fallback.asked) != private


def test_a_peer_is_found_through_the_dht_alone(tmp_path: Path, release: Path) -> None:
    node = dht_node()
    nodes = (f"127.0.0.1:{node.listen_port()}",)
    with serve(release, dht_nodes=nodes) as seeding:
        options = replace(NEARBY, dht_nodes=nodes)
        fetched = fetch(replace(seeding.magnet, peers=()), tmp_path / "new", options=options)
    assert contents(fetched.folder) == contents(release)


def test_a_peer_that_only_udp_reaches_is_reached_once_nothing_else_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (discovery, stall_watch):
        monkeypatch.setattr(module, "REACH_FURTHER_AFTER", 0.5)
    release = write_release(tmp_path / "published" / "r", SIZES)
    torrent = publish(release, V1)
    with peer_over_utp_only(release, torrent) as port:
        magnet = replace(magnet_of(read_torrent(torrent)), peers=(("127.0.0.1", port),))
        monkeypatch.setitem(libtorrent_settings._COMMON, "min_reconnect_time", 1)
        fetched = fetch(magnet, tmp_path / "late", options=NEARBY)
        assert contents(fetched.folder) == contents(release)
        for module in (discovery, stall_watch):
            monkeypatch.setattr(module, "REACH_FURTHER_AFTER", 1000)
        forced = fetch(magnet, tmp_path / "forced", options=replace(NEARBY, utp=True))
        assert contents(forced.folder) == contents(release)
        with pytest.raises(MetadataTimeout):
            fetch(magnet, tmp_path / "never", options=replace(NEARBY, metadata_timeout=2))


def test_without_upload_nobody_is_served(tmp_path: Path, small: Seeding) -> None:
    port = free_port()
    done, there = threading.Event(), threading.Event()
    results: list[Fetched] = []

    def take() -> None:
        options = replace(NEARBY, upload=False, seed=True, listen=f"127.0.0.1:{port}")
        results.append(
            fetch(small.magnet, tmp_path / "taker", options=options, finished=lambda _: there.set(), stop=done.is_set)
        )

    thread = threading.Thread(target=take)
    thread.start()
    assert there.wait(PATIENCE)
    with pytest.raises(Stalled):
        options = replace(NEARBY, stall_timeout=3)
        fetch(replace(small.magnet, peers=(("127.0.0.1", port),)), tmp_path / "asker", options=options)
    done.set()
    thread.join(PATIENCE)
    assert results[0].uploaded == 0


def test_encryption_is_required_or_refused_as_asked(tmp_path: Path, content: dict[str, bytes]) -> None:
    release = write_release(tmp_path / "published" / "small", SIZES)
    with serve(release, encryption="required") as seeding:
        options = replace(NEARBY, encryption="required")
        assert contents(fetch(seeding.magnet, tmp_path / "required", options=options).folder) == content
        refusing_it = replace(NEARBY, encryption="refused", metadata_timeout=2)
        with pytest.raises(MetadataTimeout):
            fetch(seeding.magnet, tmp_path / "refused", options=refusing_it)


@pytest.mark.parametrize(("kind", "password"), [("socks5", ""), ("socks5", "se:cret"), ("http", "")])
def test_all_connections_go_through_the_proxy(
    tmp_path: Path, small: Seeding, content: dict[str, bytes], kind: str, password: str
) -> None:
    with closing(Proxy(kind, password)) as proxy:
        user = "me:se%3Acret@" if password else ""
        options = replace(HERE, proxy=f"{kind}://{user}{proxy.address}")
        events: list[Event] = []
        fetched = fetch(small.magnet, tmp_path, options=options, emit=events.append)
    assert contents(fetched.folder) == content
    assert set(proxy.reached) == {small.port}
    assert any(isinstance(event, Remarked) and "proxy's address" in event.text for event in events)


def test_without_its_proxy_nobody_is_reached(tmp_path: Path, small: Seeding) -> None:
    options = replace(HERE, proxy=f"socks5://127.0.0.1:{free_port()}", metadata_timeout=2)
    with pytest.raises(MetadataTimeout):
        fetch(small.magnet, tmp_path, options=options)


@pytest.mark.parametrize(
    "proxy", ["socks4://h:1", "socks5://h", "h:1", "http://:80", "socks5://h:99999", "http://[::1"]
)
def test_what_is_no_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(UsageError, match="proxy"):
        settings_of(Network(proxy=proxy))


def test_an_interface_is_used_alone_or_not_at_all(
    tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    chosen = settings_of(Network(interface="lo", port=port))
    assert (chosen["outgoing_interfaces"], chosen["listen_interfaces"]) == ("lo", f"lo:{port}")
    with serve(
        release, loopback=False, fallback_trackers=False, dht=False, interface="127.0.0.1", port=port
    ) as seeding:
        assert seeding.port == port
        magnet = replace(seeding.magnet, peers=(("127.0.0.1", port),))
        fetched = fetch(magnet, tmp_path / "new", options=replace(HERE, interface="127.0.0.1", listen=""))
        assert contents(fetched.folder) == contents(release)
    monkeypatch.setattr(libtorrent_session, "LISTEN_TIMEOUT", 0.5)
    with pytest.raises(OutsideError, match="no-such-interface0"):
        fetch(seeding.magnet, tmp_path / "x", options=replace(HERE, listen="", interface="no-such-interface0"))


def test_what_leaves_the_machine_is_what_was_asked_for() -> None:
    public = settings_of(FetchOptions().network)
    assert (public["enable_dht"], public["enable_lsd"], public["enable_upnp"], public["enable_natpmp"]) == (
        True,
        False,
        False,
        False,
    )
    assert public["webtorrent_stun_server"] == ""
    assert not public["enable_outgoing_utp"]
    assert settings_of(FetchOptions(lan=True).network)["enable_lsd"]
    assert not settings_of(FetchOptions(lan=True, proxy="http://h:1").network)["enable_lsd"]
    only = FetchOptions(trackers_only=True).network
    assert (only.dht, only.peer_exchange) == (False, False)
    assert not settings_of(only)["enable_dht"]
    assert settings_of(FetchOptions(anonymous=True).network)["anonymous_mode"]
    assert not settings_of(FetchOptions(loopback=True, lan=True).network)["enable_lsd"]


def test_who_joins_in_public_is_told_what_others_see(tmp_path: Path, small: Seeding) -> None:
    said: dict[str, list[str]] = {}
    for name, options in {
        "public": HERE,
        "anonymous": replace(HERE, anonymous=True),
        "loopback": NEARBY,
    }.items():
        events: list[Event] = []
        fetch(small.magnet, tmp_path / name, options=options, emit=events.append)
        said[name] = [event.text for event in events if isinstance(event, Remarked)]
    assert said["loopback"] == []
    assert len(said["public"]) == 1
    assert "network address" in said["public"][0]
    assert "still is" in said["anonymous"][1]
    events = []
    listen = SeedOptions(dht=False, listen="127.0.0.1:0")
    folder = write_release(tmp_path / "served" / "r", SIZES)
    seed(folder, options=listen, listening=lambda _: None, stop=lambda: True, emit=events.append)
    assert any(isinstance(event, Remarked) and "network address" in event.text for event in events)


def test_a_seeder_that_goes_away_and_comes_back_is_met_again_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: Path
) -> None:
    monkeypatch.setitem(libtorrent_settings._COMMON, "min_reconnect_time", 1)
    listen = f"127.0.0.1:{free_port()}"
    results: list[Fetched] = []
    some = threading.Event()

    def note(event: Event) -> None:
        if isinstance(event, Moved):
            some.set()

    with serve(release, listen=listen, upload_limit=400_000, piece_length=32768) as seeding:
        thread = threading.Thread(
            target=lambda: results.append(fetch(seeding.magnet, tmp_path / "new", options=NEARBY, emit=note))
        )
        thread.start()
        assert some.wait(PATIENCE)
    time.sleep(0.5)
    assert not results
    with serve(release, listen=listen):
        thread.join(PATIENCE)
    assert contents(results[0].folder) == contents(release)


def test_a_peer_that_lies_among_honest_ones_does_no_harm(tmp_path: Path, release: Path) -> None:
    honest = write_release(tmp_path / "honest" / release.name)
    with serve(release, piece_length=32768) as liar, serve(honest, piece_length=32768, upload_limit=2_000_000) as other:
        with (release / "consolidated.00.pth").open("r+b") as stream:  # after its pieces were proven
            stream.write(bytes(2_000_000))
        magnet = replace(liar.magnet, peers=(*liar.magnet.peers, *other.magnet.peers))
        fetched = fetch(magnet, tmp_path / "new", options=NEARBY)
    assert contents(fetched.folder) == contents(honest)
    assert fetched.downloaded > sum(path.stat().st_size for path in honest.rglob("*.pth"))


def test_a_swarm_of_nobody_but_a_liar_is_a_stall_and_its_bytes_are_not_called_good(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", {"a": 200_000})
    with serve(release, piece_length=16384) as seeding:
        (release / "a").write_bytes(bytes(200_000))
        with pytest.raises(Stalled, match="bytes still to come"):
            fetch(seeding.magnet, tmp_path / "new", options=replace(NEARBY, stall_timeout=3))
