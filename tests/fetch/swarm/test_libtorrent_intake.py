"""How libtorrent takes pieces that come from elsewhere than its peers: what docs/mirrors.md relies on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

from magnetar.fetch.request.options import Network
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import Joining, Swarm, Transfer
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import bare_torrent, load, read_torrent
from magnetar.fetch.torrent.piece_layout import PieceLayout, read_layout
from tests.fetch.world import contents, serve, write_release
from tests.patience import PATIENCE

PIECE = 65536
SIZES = {"a": 300_001, "b": 99, "d": 200_000}


@dataclass
class World:
    """A torrent that lacks every piece, in a session of its own."""

    swarm: Swarm
    transfer: Transfer
    layout: PieceLayout
    files: dict[str, bytes]
    torrent: bytes

    @property
    def count(self) -> int:
        return read_torrent(self.torrent).piece_count

    def content(self, piece: int) -> bytes:
        return b"".join(
            self.files[span.path][span.offset : span.offset + span.length] if span.path else bytes(span.length)
            for span in self.layout.spans(piece)
        )

    def wait_until(self, done: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.swarm.wait(0.05)
        return done()


@pytest.fixture(params=[64, 32, 0], ids=["v1", "v2", "hybrid"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    release = write_release(tmp_path / "published" / "r", SIZES)
    with _joined(_torrent(release, request.param), release, tmp_path / "new") as made:
        yield made


def test_all_pieces_put_in_complete_the_torrent(world: World) -> None:
    intake = world.transfer.intake
    pieces = list(intake.unclaimed())
    assert pieces == list(range(world.count))
    intake.reserve(pieces)
    assert not intake.unclaimed()
    for piece in pieces:
        intake.put(piece, world.content(piece))
    assert world.wait_until(lambda: world.transfer.status().phase == "complete")
    assert intake.received == sum(len(world.content(piece)) for piece in pieces)
    assert world.transfer.status().downloaded == intake.received


def test_a_piece_that_arrives_while_it_is_asked_what_is_lacking_is_not_lacking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake: Any = world.transfer.intake
    intake.reserve([0])
    intake.put(0, world.content(0))

    class Slow:
        """The torrent's handle; between any two answers the piece arrives, and is given back."""

        def __init__(self, handle: Any) -> None:
            self._handle = handle

        def __getattr__(self, name: str) -> Any:
            answer = getattr(self._handle, name)
            if name not in ("status", "get_piece_priorities"):
                return answer

            def ask(*arguments: Any) -> Any:
                told = answer(*arguments)
                intake._handle = self._handle
                assert world.wait_until(lambda: intake.verdict(0) is True)
                intake.release([0])
                intake._handle = self
                return told

            return ask

    monkeypatch.setattr(intake, "_handle", Slow(intake._handle))
    assert 0 not in intake.unclaimed()


def test_a_wrong_piece_is_refused(world: World) -> None:
    intake = world.transfer.intake
    intake.reserve([0])
    content = world.content(0)
    intake.put(0, bytes([content[0] ^ 1]) + content[1:])
    assert world.wait_until(lambda: intake.verdict(0) is False)
    assert not world.transfer.pieces()[0]


def test_a_reservation_hides_pieces_from_the_library_but_not_from_the_totals(world: World) -> None:
    intake, total = world.transfer.intake, sum(SIZES.values())
    intake.reserve([0, 1])
    world.wait_until(lambda: False, 0.3)
    assert world.transfer.status().total == total
    for piece in (0, 1):
        intake.put(piece, world.content(piece))
    assert world.wait_until(lambda: intake.verdict(0) is True and intake.verdict(1) is True)
    intake.release([0, 1])
    assert world.wait_until(lambda: world.transfer.status().done == 2 * PIECE)
    assert world.transfer.status().total == total
    assert list(intake.unclaimed()) == list(range(2, world.count))


def test_padded_version_2_pieces_are_refused_and_so_must_end_with_their_file(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", SIZES)
    with _joined(_torrent(release, 32), release, tmp_path / "new") as world:
        piece = list(world.layout.pieces("a"))[-1]
        content = world.content(piece)
        assert len(content) < PIECE
        world.transfer.intake.put(piece, content + bytes(PIECE - len(content)))
        assert not world.wait_until(lambda: world.transfer.intake.verdict(piece) is not None, 0.5)
        world.transfer.intake.put(piece, content)
        assert world.wait_until(lambda: world.transfer.intake.verdict(piece) is True)


def test_without_piece_layers_nothing_can_be_put_into_a_version_2_torrent(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", SIZES)
    torrent = bare_torrent(load(_torrent(release, 32)).ti.info_section(), ())
    with _joined(torrent, release, tmp_path / "new") as world:
        world.transfer.intake.put(0, world.content(0))
        assert not world.wait_until(lambda: world.transfer.intake.verdict(0) is not None, 0.5)


def test_a_peer_stays_while_everything_that_is_left_is_reserved(tmp_path: Path) -> None:
    """Left to itself, the library calls the torrent finished, parts with the peer, and comes back a minute later."""
    release = write_release(tmp_path / "published" / "r", {"a": 2_000_000})
    with serve(release, piece_length=PIECE) as seeding:
        torrent = _torrent(release, 0)
        peers = (("127.0.0.1", seeding.port),)
        with _joined(torrent, release, tmp_path / "new", reserved=10, peers=peers) as world:
            last = range(world.count - 10, world.count)
            assert world.wait_until(lambda: world.transfer.status().done >= 2_000_000 - 10 * PIECE)
            world.wait_until(lambda: False, 0.5)
            assert (world.transfer.status().peers, world.transfer.status().phase) == (1, "downloading")
            world.transfer.intake.release(last)
            assert world.wait_until(lambda: world.transfer.status().phase == "complete")


def test_a_piece_that_a_peer_is_sending_may_be_put_in_all_the_same(tmp_path: Path) -> None:
    release = write_release(tmp_path / "published" / "r", {"a": 2_000_000})
    with serve(release, piece_length=PIECE, upload_limit=200_000) as seeding:
        peers = (("127.0.0.1", seeding.port),)
        with _joined(_torrent(release, 0), release, tmp_path / "new", peers=peers) as world:
            intake = world.transfer.intake

            def requested() -> set[int]:
                return set(intake.unclaimed(even_requested=True)) - set(intake.unclaimed())

            assert world.wait_until(lambda: bool(requested()))
            for piece in range(world.count):
                intake.reserve([piece])
                intake.put(piece, world.content(piece))
            assert world.wait_until(lambda: world.transfer.status().phase == "complete")
            world.transfer.resume_data()  # after all is on disk
            assert contents(tmp_path / "new") == contents(release)


def _torrent(release: Path, version: int) -> bytes:
    names = sorted(contents(release))
    entries = [lt.create_file_entry(f"{release.name}/{name}", (release / name).stat().st_size) for name in names]
    draft = lt.create_torrent(entries, PIECE, version)
    lt.set_piece_hashes(draft, str(release.parent), lambda _piece: None)
    return bytes(lt.bencode(draft.generate()))


@contextmanager
def _joined(
    torrent: bytes, release: Path, folder: Path, *, reserved: int = 0, peers: tuple[tuple[str, int], ...] = ()
) -> Iterator[World]:
    """A session that has joined a torrent, with the last ``reserved`` pieces kept from ``peers``."""
    metadata = read_torrent(torrent)
    with open_swarm(Network(loopback=True)) as swarm:
        transfer = swarm.join(Joining(folder, magnet_of(metadata, peers=peers), torrent))
        transfer.intake.reserve(range(metadata.piece_count - reserved, metadata.piece_count))
        world = World(swarm, transfer, read_layout(torrent), contents(release), torrent)
        assert world.wait_until(lambda: transfer.status().phase == "downloading")
        yield world
