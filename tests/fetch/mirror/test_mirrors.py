import io
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import libtorrent as lt
import pytest

from magnetar.errors import Stalled
from magnetar.events import Event, MirrorDropped, Moved, Remarked, SwarmSeen
from magnetar.fetch.download.check_on_disk import check_pieces
from magnetar.fetch.download.fetch import Fetched, fetch
from magnetar.fetch.request.mirrors import FileMirror, Mirror, ReleaseMirror
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.torrent.create_torrent import TorrentOptions, create_torrent
from tests.fetch.mirror_world import MirrorServer, mirror_server
from tests.fetch.world import NEARBY, SIZES, contents, serve, write_release
from tests.patience import GROWING, PATIENCE, patiently, wait_until

ROOT = Path(__file__).parents[3]
TOTAL = sum(SIZES.values())
BIG = "consolidated.00.pth"
PIECE = 32768


@pytest.fixture
def torrent(release: Path) -> bytes:
    return create_torrent(release, TorrentOptions(piece_length=PIECE))


def named(*mirrors: MirrorServer, options: FetchOptions = NEARBY) -> FetchOptions:
    """Options that name the folder each server serves."""
    return replace(options, mirrors=tuple(ReleaseMirror(f"{mirror.url}/", named=True) for mirror in mirrors))


@dataclass(frozen=True)
class Told:
    """What was emitted: remarks, and why each mirror was dropped, by its URL."""

    remarks: tuple[str, ...]
    dropped: dict[str, str]


def get(torrent: bytes, parent: Path, options: FetchOptions) -> tuple[Fetched, Told]:
    events: list[Event] = []
    fetched = fetch(torrent, parent, options=options, emit=events.append)
    remarks = tuple(event.text for event in events if isinstance(event, Remarked))
    return fetched, Told(remarks, {event.url: event.reason for event in events if isinstance(event, MirrorDropped)})


def stall(torrent: bytes, parent: Path, options: FetchOptions, reason: str) -> Stalled:
    """A fetch that comes to nothing, with that reason in its message."""

    def attempt(seconds: float) -> Stalled:
        with pytest.raises(Stalled) as caught:
            fetch(torrent, parent, options=replace(options, stall_timeout=seconds))
        return caught.value

    stalled = patiently(attempt, lambda stalled: reason in stalled.message)
    assert reason in stalled.message
    return stalled


def test_a_mirror_completes_a_dead_swarm_and_sends_each_byte_once(
    tmp_path: Path, release: Path, torrent: bytes
) -> None:
    with mirror_server(contents(release)) as mirror:
        fetched, told = get(torrent, tmp_path / "new", named(mirror))
    assert contents(fetched.folder) == contents(release)
    assert mirror.sent == TOTAL
    assert told.remarks == (f"{TOTAL:,} bytes came from mirrors: 127.0.0.1",)


@pytest.mark.parametrize("version", [64, 32, 0], ids=["v1", "v2", "hybrid"])
def test_pieces_of_every_version_of_the_protocol_come_from_mirrors(tmp_path: Path, version: int) -> None:
    release = write_release(tmp_path / "published" / "r", {"a": 300_001, "b/c": 99, "d": 65_536, "e": 0})
    paths = sorted(path.relative_to(release.parent).as_posix() for path in release.rglob("*") if path.is_file())
    entries = [lt.create_file_entry(path, (release.parent / path).stat().st_size) for path in paths]
    draft = lt.create_torrent(entries, 16384, version)
    lt.set_piece_hashes(draft, str(release.parent), lambda _piece: None)
    with mirror_server(contents(release)) as mirror:
        fetched, _ = get(bytes(lt.bencode(draft.generate())), tmp_path / "new", named(mirror))
    assert contents(fetched.folder) == contents(release)


def test_swarm_and_mirror_work_on_different_pieces(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "big", {"weights": 20_000_000})
    torrent = create_torrent(release, TorrentOptions(piece_length=65536))
    with serve(release, piece_length=65536, upload_limit=4_000_000) as seeding:
        options = replace(NEARBY, peers=(("127.0.0.1", seeding.port),))
        with mirror_server(contents(release), rate=1_500_000) as mirror:
            events: list[Event] = []
            fetched = fetch(torrent, tmp_path / "new", options=named(mirror, options=options), emit=events.append)
    assert contents(fetched.folder) == contents(release)
    assert 1_000_000 < mirror.sent < 19_000_000
    seen = [event for event in events if isinstance(event, SwarmSeen)]
    assert max(event.peers for event in seen) == 1
    assert 0 < seen[-1].mirrored < seen[-1].downloaded  # the share of the mirrors is told while it runs
    assert fetched.downloaded < 1.05 * 20_000_000  # from either, but not from both
    assert sum(event.amount for event in events if isinstance(event, Moved)) == 20_000_000


def test_the_mirror_fetches_what_the_peers_do_not_have(tmp_path: Path, release: Path, torrent: bytes) -> None:
    """A peer that has only half of the release, and a mirror that has only the largest file."""
    half = tmp_path / "half"
    with mirror_server(contents(release)) as mirror:
        options = replace(NEARBY, mirrors=(FileMirror(BIG, f"{mirror.url}/{BIG}", named=True),))
        for seconds in GROWING:
            with pytest.raises(Stalled):
                fetch(torrent, half, options=replace(options, stall_timeout=seconds))
            if contents(half)[f"{release.name}/{BIG}"] == contents(release)[BIG]:
                break
    with serve(release, piece_length=PIECE, upload_limit=3_000_000) as seeding:
        options = replace(NEARBY, peers=(("127.0.0.1", seeding.port),))
        fetched, _ = get(torrent, half, options)
        assert contents(fetched.folder) == contents(release)
        assert fetched.downloaded < TOTAL - SIZES[BIG] + 4 * PIECE


def test_a_mirror_that_redirects_is_followed_and_its_end_is_remembered(
    tmp_path: Path, release: Path, torrent: bytes
) -> None:
    with mirror_server({f"signed/{path}": content for path, content in contents(release).items()}) as store:

        def sign(path: str) -> str:
            return f"{store.url}/signed{path}?token=secret"

        with mirror_server({}, redirect=sign) as mirror:
            fetched, told = get(torrent, tmp_path / "new", named(mirror))
    assert contents(fetched.folder) == contents(release)
    assert len(mirror.asked) < len(store.asked)
    assert "secret" not in str(told)


def test_redirections_without_end_are_not_followed(tmp_path: Path, release: Path, torrent: bytes) -> None:
    with mirror_server({}, redirect=lambda path: path) as mirror, mirror_server(contents(release)) as good:
        fetched, told = get(torrent, tmp_path / "new", named(mirror, good))
    assert contents(fetched.folder) == contents(release)
    assert told.dropped[f"{mirror.url}/{BIG}"] == "more than 8 redirections"


def test_a_mirror_without_ranges_is_read_from_beginning_to_end(tmp_path: Path, release: Path, torrent: bytes) -> None:
    with mirror_server(contents(release), ranges=False) as mirror:
        fetched, _ = get(torrent, tmp_path / "new", named(mirror))
    assert contents(fetched.folder) == contents(release)
    assert mirror.sent < 2.5 * TOTAL  # what it sent before it was known for what it is


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_mirror_that_refuses_is_named_and_asked_no_more(
    tmp_path: Path, release: Path, torrent: bytes, status: int
) -> None:
    with mirror_server(contents(release), status=status) as bad, mirror_server(contents(release)) as good:
        fetched, told = get(torrent, tmp_path / "new", named(bad, good))
    assert contents(fetched.folder) == contents(release)
    assert told.dropped[f"{bad.url}/{BIG}"].startswith(f"answers {status} ")
    assert len([path for path, _range in bad.asked if path == BIG]) <= 4  # once by each reader


def test_a_mirror_that_is_busy_is_asked_again(tmp_path: Path, release: Path, torrent: bytes) -> None:
    with mirror_server(contents(release), fails=2) as mirror:
        fetched, told = get(torrent, tmp_path / "new", named(mirror))
    assert contents(fetched.folder) == contents(release)
    assert not told.dropped


def test_a_page_that_says_sorry_with_status_200_is_known_by_its_length(
    tmp_path: Path, release: Path, torrent: bytes
) -> None:
    with mirror_server(contents(release), page_as_200=True) as bad, mirror_server(contents(release)) as good:
        fetched, told = get(torrent, tmp_path / "new", named(bad, good))
    assert contents(fetched.folder) == contents(release)
    assert told.dropped[f"{bad.url}/{BIG}"] == f"has 18 bytes where {BIG} needs {SIZES[BIG]:,}"


def test_wrong_bytes_drop_the_mirror_by_name_and_another_completes(
    tmp_path: Path, release: Path, torrent: bytes
) -> None:
    with (
        mirror_server(contents(release), corrupt=frozenset({BIG})) as bad,
        mirror_server(contents(release), rate=3_000_000) as good,
    ):
        fetched, told = get(torrent, tmp_path / "new", named(bad, good))
    assert contents(fetched.folder) == contents(release)
    assert told.dropped == {f"{bad.url}/{BIG}": f"what it serves as {BIG} failed its hash"}


def test_wrong_bytes_are_made_good_by_a_peer(tmp_path: Path, release: Path, torrent: bytes) -> None:
    with (
        serve(release, piece_length=PIECE, upload_limit=1_000_000) as seeding,
        mirror_server(contents(release), corrupt=frozenset(SIZES)) as bad,
    ):
        options = replace(NEARBY, peers=(("127.0.0.1", seeding.port),))
        fetched, told = get(torrent, tmp_path / "new", named(bad, options=options))
    assert contents(fetched.folder) == contents(release)
    assert f"{bad.url}/{BIG}" in told.dropped


def test_a_mirror_that_stalls_is_named_and_its_pieces_come_from_elsewhere(
    tmp_path: Path, release: Path, torrent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("magnetar.fetch.http.client.READ_TIMEOUT", 0.5)
    with (
        mirror_server(contents(release), stalls_after=16384) as bad,
        mirror_server(contents(release), rate=1_000_000) as good,
    ):
        fetched, _ = get(torrent, tmp_path / "new", named(bad, good))
    assert contents(fetched.folder) == contents(release)


def test_a_release_that_no_mirror_completes_ends_with_what_was_tried(
    tmp_path: Path, release: Path, torrent: bytes
) -> None:
    with mirror_server({}) as bad:
        stalled = stall(torrent, tmp_path / "new", named(bad), f"{bad.url}/{BIG}: answers 404")
    assert (stalled.missing, stalled.total) == (TOTAL, TOTAL)


def test_a_tar_is_searched_for_the_files_of_the_release(tmp_path: Path, release: Path, torrent: bytes) -> None:
    with mirror_server({"r.tar": _tar(contents(release), "./mixtral")}) as mirror:
        options = replace(NEARBY, mirrors=(ReleaseMirror(f"{mirror.url}/r.tar", named=True),))
        fetched, _ = get(torrent, tmp_path / "new", options)
    assert contents(fetched.folder) == contents(release)
    assert mirror.sent < TOTAL + 20_000  # its headers, and each file once


def test_offsets_in_a_tar_may_be_given(tmp_path: Path, release: Path, torrent: bytes) -> None:
    tar = _tar(contents(release), "mixtral")
    with mirror_server({"r.tar": tar}) as mirror:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            mirrors = tuple(
                FileMirror(member.name.partition("/")[2], f"{mirror.url}/r.tar", member.offset_data, named=True)
                for member in archive
            )
        fetched, _ = get(torrent, tmp_path / "new", replace(NEARBY, mirrors=mirrors))
    assert contents(fetched.folder) == contents(release)
    assert mirror.sent == TOTAL


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b"", b"\x1f\x8b" + bytes(2000)])
def test_what_is_no_tar_is_named(tmp_path: Path, release: Path, torrent: bytes, content: bytes) -> None:
    with mirror_server({"r.tar": content}) as bad, mirror_server(contents(release)) as good:
        mirrors = (ReleaseMirror(f"{bad.url}/r.tar", named=True), *named(good).mirrors)
        fetched, told = get(torrent, tmp_path / "new", replace(NEARBY, mirrors=mirrors))
    assert contents(fetched.folder) == contents(release)
    assert f"{bad.url}/r.tar" in told.dropped


def test_parts_serve_the_whole_in_numeric_order(tmp_path: Path, release: Path, torrent: bytes) -> None:
    whole = contents(release)
    size = -(-SIZES[BIG] // 11)
    parts = {f"{BIG}-split{number}": whole[BIG][number * size : (number + 1) * size] for number in range(11)}
    with mirror_server(whole | parts) as mirror:
        mirrors: tuple[Mirror, ...] = (
            FileMirror(BIG, f"{mirror.url}/{BIG}-split{{part}}", parts=11, named=True),
            *(FileMirror(path, f"{mirror.url}/{path}", named=True) for path in whole if path != BIG),
        )
        fetched, _ = get(torrent, tmp_path / "new", replace(NEARBY, mirrors=mirrors))
    assert contents(fetched.folder) == whole
    assert BIG not in {path for path, _range in mirror.asked}
    assert {path for path, _range in mirror.asked} >= set(parts)


def test_parts_that_do_not_make_the_file_are_named(tmp_path: Path, release: Path, torrent: bytes) -> None:
    whole = contents(release)
    with mirror_server({"p0": whole[BIG][:1000], "p1": whole[BIG][1000:-1]}) as bad, mirror_server(whole) as good:
        mirrors = (FileMirror(BIG, f"{bad.url}/p{{part}}", parts=2, named=True), *named(good).mirrors)
        fetched, told = get(torrent, tmp_path / "new", replace(NEARBY, mirrors=mirrors))
    assert contents(fetched.folder) == whole
    reason = f"its parts have {SIZES[BIG] - 1:,} bytes, not the {SIZES[BIG]:,} of {BIG}"
    assert told.dropped == {f"{bad.url}/p{{part}}": reason}


def test_a_private_address_is_asked_only_if_the_user_named_it(tmp_path: Path, release: Path, torrent: bytes) -> None:
    with mirror_server(contents(release)) as mirror:
        for url in (mirror.url, mirror.url.replace("127.0.0.1", "localhost")):
            options = replace(NEARBY, mirrors=(ReleaseMirror(f"{url}/"),))
            stall(torrent, tmp_path / "new", options, "has the private address 127")
    assert not mirror.asked


def test_a_redirection_to_a_private_address_that_nobody_named_is_not_followed(
    tmp_path: Path, release: Path, torrent: bytes
) -> None:
    with mirror_server(contents(release)) as inner:
        elsewhere = inner.url.replace("127.0.0.1", "localhost")
        with mirror_server({}, redirect=lambda path: elsewhere + path) as mirror:
            stall(torrent, tmp_path / "new", named(mirror), "localhost has the private address")
    assert not inner.asked


def test_the_limit_holds_for_mirrors_too(tmp_path: Path, release: Path, torrent: bytes) -> None:
    limit = 2_000_000
    with mirror_server(contents(release)) as mirror:
        began = time.monotonic()
        get(torrent, tmp_path / "new", named(mirror, options=replace(NEARBY, download_limit=limit)))
    assert time.monotonic() - began > 0.7 * TOTAL / limit


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_interrupted_fetch_goes_on_without_asking_the_mirror_twice(
    tmp_path: Path, release: Path, torrent: bytes, how: signal.Signals
) -> None:
    (tmp_path / "r.torrent").write_bytes(torrent)
    with mirror_server(contents(release)) as mirror:
        arguments = [str(tmp_path / "r.torrent"), str(tmp_path / "new"), f"{mirror.url}/", "400000"]
        command = [sys.executable, "-m", "tests.fetch.mirror.interrupted_mirror", *arguments]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            good = next(int(line) for line in process.stdout if int(line) > 300_000)
            folder = tmp_path / "new" / release.name
            wait_until(lambda: check_pieces(folder, torrent).done >= good, "the writing of what was hashed in memory")
            process.send_signal(how)
            process.wait(PATIENCE)
        sent, mirror.sent = mirror.sent, 0
        fetched, _ = get(torrent, tmp_path / "new", named(mirror))
    assert contents(fetched.folder) == contents(release)
    assert sent >= good
    assert mirror.sent <= TOTAL - good + 4 * PIECE


def test_web_seeds_of_a_torrent_work_through_the_library(tmp_path: Path, release: Path) -> None:
    """BEP 19: the library's own client appends the torrent's name and the path."""
    served = {f"{release.name}/{path}": content for path, content in contents(release).items()}
    with mirror_server(served) as seed:
        made = lt.bdecode(create_torrent(release, TorrentOptions(piece_length=PIECE)))
        made[b"url-list"] = f"{seed.url}/".encode()
        fetched, _ = get(bytes(lt.bencode(made)), tmp_path / "new", NEARBY)
    assert contents(fetched.folder) == contents(release)
    assert seed.sent >= TOTAL


def _tar(files: dict[str, bytes], top: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()
