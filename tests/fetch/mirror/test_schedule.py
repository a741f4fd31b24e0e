from collections.abc import Iterator

import pytest

from magnetar.fetch.http.address_policy import AddressPolicy
from magnetar.fetch.http.client import Client
from magnetar.fetch.mirror.mirror_source import MirrorSource
from magnetar.fetch.mirror.schedule import MAX_RUN_BYTES, PieceRun, Schedule
from magnetar.fetch.request.mirrors import FileMirror
from magnetar.fetch.torrent.piece_layout import Extent, PieceLayout


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(AddressPolicy())
    yield made
    made.close()


def test_pieces_that_few_peers_have_are_read_first_then_in_order(client: Client) -> None:
    schedule = Schedule(PieceLayout([Extent("w", 0, 1000)], 10, padded=True), range(100))
    schedule.add(MirrorSource(FileMirror("w", "https://a.example/w"), 1000, client))
    assert schedule.plan({}) is None
    run = schedule.plan({piece: 0 if 40 <= piece < 50 else 2 for piece in range(100)})
    assert run is not None
    assert (run.first, run.last) == (40, 42)  # a thirty-second of what is missing
    assert schedule.plan(dict.fromkeys(range(200, 300), 0)) is None


def test_two_mirrors_share_the_work(client: Client) -> None:
    schedule = Schedule(PieceLayout([Extent("w", 0, 1000)], 10, padded=True), range(100))
    sources = [MirrorSource(FileMirror("w", f"https://{host}.example/w"), 1000, client) for host in "ab"]
    for source in sources:
        schedule.add(source)
        source.ranged = True
    runs = [schedule.plan(dict.fromkeys(range(100), 0)) for _ in range(4)]
    assert [source.readers for source in sources] == [2, 2]
    for run in runs:
        assert run is not None
        schedule.end(run)
    assert [source.readers for source in sources] == [0, 0]


def test_a_piece_that_two_mirrors_got_wrong_together_is_not_read_from_them_again(client: Client) -> None:
    schedule = Schedule(PieceLayout([Extent("a", 0, 15), Extent("b", 15, 5)], 10, padded=True), range(2))
    a, b, other = (MirrorSource(FileMirror(path, "https://x.example/"), 15, client) for path in "aba")
    for source in (a, b):
        schedule.add(source)
        source.ranged = True
    schedule.refute(1, frozenset({a, b}))
    assert schedule.assign(1, PieceRun(1, 1, whole=False)) is None
    schedule.add(other)
    assert schedule.assign(1, PieceRun(1, 1, whole=False)) == {"a": other, "b": b}


def test_a_file_without_ranges_is_not_begun_while_a_run_holds_pieces_of_it_that_it_will_give_back(
    client: Client,
) -> None:
    schedule = Schedule(PieceLayout([Extent("a", 0, 10), Extent("b", 10, 990)], 10, padded=True), range(100))
    first, b = (
        MirrorSource(FileMirror(path, "https://x.example/"), size, client)
        for path, size in zip("ab", (10, 990), strict=True)
    )
    for source in (first, b):
        schedule.add(source)
    missing = dict.fromkeys(range(100), 0)
    before = schedule.plan(missing)  # the piece of a, and some of b
    assert before is not None and (before.first, before.last) == (0, 2)
    b.ranged = False
    rest = {piece: 0 for piece in missing if piece > before.last}
    assert schedule.plan(rest) is None and b.readers == 0
    schedule.end(before)
    whole = schedule.plan({piece: 0 for piece in missing if piece})
    assert whole is not None and (whole.first, whole.last, whole.whole) == (1, 99, True)


def plan_of_a_new_release(client: Client, size: int, piece_length: int) -> tuple[int, int]:
    """The first run over a file of which nothing is here, and that one mirror has: its first and last piece."""
    count = -(-size // piece_length)
    schedule = Schedule(PieceLayout([Extent("w", 0, size)], piece_length, padded=True), range(count))
    schedule.add(MirrorSource(FileMirror("w", "https://a.example/w"), size, client))
    run = schedule.plan(dict.fromkeys(range(count), 0))
    assert run is not None
    return run.first, run.last


@pytest.mark.parametrize(("pieces", "last"), [(1, 0), (63, 0), (64, 1), (96, 2), (97, 2)])
def test_a_run_is_a_thirty_second_of_what_is_missing_and_one_piece_at_least(
    client: Client, pieces: int, last: int
) -> None:
    assert plan_of_a_new_release(client, size=pieces * 16384, piece_length=16384) == (0, last)


@pytest.mark.parametrize("missing", [32 * MAX_RUN_BYTES, 33 * MAX_RUN_BYTES, 400 * MAX_RUN_BYTES])
def test_a_run_is_as_long_as_its_bound_however_much_is_missing(client: Client, missing: int) -> None:
    length = 8 << 20
    first, last = plan_of_a_new_release(client, missing, length)
    assert (last - first + 1) * length == MAX_RUN_BYTES


def test_a_run_ends_where_a_piece_is_here_or_more_peers_have_the_next(client: Client) -> None:
    schedule = Schedule(PieceLayout([Extent("w", 0, 10_000)], 10, padded=True), range(1000))
    schedule.add(MirrorSource(FileMirror("w", "https://a.example/w"), 10_000, client))
    for unclaimed in (
        {piece: 0 for piece in range(1000) if piece != 5},
        {piece: 0 if piece < 5 else 1 for piece in range(1000)},
    ):
        run = schedule.plan(unclaimed)
        assert run is not None
        assert list(run.pieces) == [0, 1, 2, 3, 4]
        run.end()


def test_only_pieces_whose_hash_is_known_are_in_a_run(client: Client) -> None:
    schedule = Schedule(PieceLayout([Extent("w", 0, 10_000)], 10, padded=True), range(100, 103))
    schedule.add(MirrorSource(FileMirror("w", "https://a.example/w"), 10_000, client))
    run = schedule.plan(dict.fromkeys(range(1000), 0))
    assert run is not None
    assert run.first == 100
