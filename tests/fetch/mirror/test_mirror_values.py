import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.byte_source import Content
from magnetar.errors import UsageError
from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed
from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.link.urls import shown
from magnetar.fetch.mirror.schedule import Choice, Run
from magnetar.fetch.mirror.source import Source
from magnetar.fetch.request.mirrors import FileMirror, ReleaseMirror, named_hosts
from magnetar.fetch.torrent.create import create_torrent
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.fetch.torrent.piece_digests import read_digests
from magnetar.fetch.torrent.piece_layout import Extent, Layout, read_layout
from tests import needs
from tests.fetch.mirror_world import mirror_server
from tests.fetch.world import contents, write_release

HERE = AddressPolicy(frozenset({"127.0.0.1"}))


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(HERE)
    yield made
    made.close()


def test_parts_are_counted_in_numeric_order_with_as_many_digits_as_asked() -> None:
    plain = FileMirror("w", "https://a.example/w-split{part}", parts=11).urls
    assert (plain[2], plain[10]) == ("https://a.example/w-split2", "https://a.example/w-split10")
    padded = FileMirror("w", "https://a.example/w-{part:02}.pth", parts=11).urls
    assert (padded[2], padded[10]) == ("https://a.example/w-02.pth", "https://a.example/w-10.pth")


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "ftp://a.example/w", "https://", "http:///w", "https://a b/", "a.example/w",
     "https://a.example:port/", "http://[::1", "https://a.example/\nHost: x"],
)  # fmt: skip
def test_what_is_no_url_of_a_mirror_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        ReleaseMirror(url)


def test_a_release_mirror_is_a_folder_a_tar_or_the_one_file_that_it_names(tmp_path: Path) -> None:
    metadata = read_torrent(create_torrent(write_release(tmp_path / "r", {"a b.bin": 5, "c/d": 6})))
    folder = ReleaseMirror("https://a.example/main?download=true", named=True).files(metadata)
    assert [(mirror.path, mirror.url, mirror.named) for mirror in folder] == [
        ("a b.bin", "https://a.example/main/a%20b.bin?download=true", True),
        ("c/d", "https://a.example/main/c/d?download=true", True),
    ]
    assert [mirror.path for mirror in ReleaseMirror("https://a.example/x/a%20b.bin").files(metadata)] == ["a b.bin"]
    assert ReleaseMirror("https://a.example/x.tar?key=1").is_archive


def test_what_is_shown_of_a_url_holds_no_key() -> None:
    assert shown("https://me:word@a.example:8000/w?token=secret#x") == "https://a.example:8000/w"


def test_only_what_the_user_typed_is_named() -> None:
    typed, listed = ReleaseMirror("http://NAS.lan/x/", named=True), ReleaseMirror("http://10.0.0.1/x/")
    assert named_hosts((typed, listed)) == {"nas.lan"}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "localhost",
     "x.localhost", "LOCALHOST"],
)  # fmt: skip
def test_private_addresses_are_not_asked_on_the_word_of_a_document(host: str) -> None:
    with pytest.raises(NotAllowed, match="private address"):
        AddressPolicy().check_url(f"http://{host}/w")
    AddressPolicy(frozenset({host.lower().strip("[]")})).check_url(f"http://{host}/w")


@pytest.mark.parametrize("host", ["a.example", "93.184.216.34", "[2606:2800:220:1::1]"])
def test_public_hosts_are_asked(host: str) -> None:
    AddressPolicy().check_url(f"https://{host}/w")


def test_on_loopback_nothing_outside_of_this_machine_is_asked() -> None:
    with pytest.raises(NotAllowed, match="not on this machine"):
        AddressPolicy(frozenset({"93.184.216.34"}), only_loopback=True).check_url("https://93.184.216.34/")


def test_a_redirection_from_https_to_http_is_refused() -> None:
    policy = AddressPolicy()
    policy.check_url("https://b.example/w", before="http://a.example/w")
    policy.check_url("https://b.example/w", before="https://a.example/w")
    with pytest.raises(NotAllowed, match="https to http"):
        policy.check_url("http://b.example/w?token=1", before="https://a.example/w")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://a.example/", "http://[::1/", "https:///w"])
def test_a_redirection_to_something_else_than_http_is_refused(client: Client, location: str) -> None:
    with (
        mirror_server({}, redirect=lambda _path: location) as mirror,
        pytest.raises((NotAllowed, HttpFailed)) as caught,
    ):
        client.get(f"{mirror.url}/w")
    assert len(mirror.asked) == 1
    assert not getattr(caught.value, "passing", False)


def test_the_address_that_answers_counts_and_not_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is read, and resolves to this machine when it is connected to."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _host, *arguments, **named: resolve("127.0.0.1", *arguments, **named)
    )
    with mirror_server({"w": b"secret"}) as mirror:
        url = mirror.url.replace("127.0.0.1", "public.example")
        with pytest.raises(NotAllowed, match=r"public\.example has the private address 127\.0\.0\.1"):
            Client(AddressPolicy()).get(f"{url}/w")
        answer = Client(AddressPolicy(frozenset({"public.example"}))).get(f"{url}/w")
        assert b"".join(answer.chunks(6)) == b"secret"
        answer.close()
    assert len(mirror.asked) == 1


def test_the_proxy_of_the_environment_is_used_unless_it_says_not_for_this_host(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    with mirror_server({"w": b"by proxy"}) as proxy, mirror_server({"w": b"directly"}) as mirror:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        for excepted, expected in (("", b"by proxy"), ("127.0.0.1", b"directly")):
            monkeypatch.setenv("NO_PROXY", excepted)
            monkeypatch.setenv("no_proxy", excepted)
            answer = client.get(f"{mirror.url}/w")
            assert b"".join(answer.chunks(8)) == expected
            answer.close()


def test_a_proxy_that_we_do_not_speak_to_is_no_reason_to_go_without() -> None:
    with mirror_server({"w": b"directly"}) as mirror:
        with pytest.raises(HttpFailed, match=r"proxy socks5://10\.0\.0\.1:1080"):
            Client(HERE, proxy="socks5://me:word@10.0.0.1:1080").get(f"{mirror.url}/w")
        assert not mirror.asked


@needs.linux  # where the loopback network has more than one address
def test_connections_leave_by_the_interface_that_was_named() -> None:
    with mirror_server({"w": b"w"}) as mirror:
        for interface in ("127.0.0.2", "lo"):
            Client(HERE, interface=interface).get(f"{mirror.url}/w").close()
        with pytest.raises(HttpFailed, match="does not answer"):
            Client(HERE, interface="no-such-device").get(f"{mirror.url}/w")
    assert mirror.clients == {"127.0.0.2", "127.0.0.1"}
    assert len(mirror.asked) == 2


def test_a_server_that_is_not_there_is_passing_and_named(client: Client) -> None:
    with pytest.raises(HttpFailed, match=r"127\.0\.0\.1 does not answer") as caught:
        client.get("http://127.0.0.1:9/w")
    assert caught.value.passing


def test_an_answer_that_ends_too_early_or_drips_is_passing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror_server({"w": bytes(100_000)}, stalls_after=16384) as mirror:
        monkeypatch.setattr("magnetar.fetch.http.client.READ_PATIENCE", 0.3)
        with pytest.raises(HttpFailed) as caught, closing(client.get(f"{mirror.url}/w")) as answer:
            list(answer.chunks(100_000))
    assert caught.value.passing


def test_a_source_that_fails_in_passing_waits_ever_longer_and_is_told_once(client: Client) -> None:
    source = Source(FileMirror("w", "https://a.example/w"), 10, client)
    busy = HttpFailed("answers 503", passing=True)
    said = [source.failed(busy) for _ in range(5)]
    assert [bool(text) for text in said] == [False, False, True, False, False]
    assert not source.dropped
    assert not source.usable
    assert "asked no more: answers 404" in source.failed(HttpFailed("answers 404"))
    assert source.drop("again") == ""


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any),
    piece_length=st.integers(1, 40),
)
def test_the_spans_of_all_pieces_are_every_byte_of_every_file_once(sizes: list[int], piece_length: int) -> None:
    extents, begin = [], 0
    for number, size in enumerate(sizes):
        extents.append(Extent(f"f{number}", begin, size))
        begin += size
    layout = Layout(extents, piece_length, padded=True)
    expected = [(extent.path, offset) for extent in extents for offset in range(extent.size)]
    pieces = -(-begin // piece_length)
    spans = [(piece, span) for piece in range(pieces) for span in layout.spans(piece)]
    assert [(span.path, span.offset + index) for _, span in spans for index in range(span.length)] == expected
    for extent in extents:
        assert list(layout.pieces(extent.path)) == sorted({piece for piece, span in spans if span.path == extent.path})


@pytest.mark.parametrize("version", [64, 32, 0], ids=["v1", "v2", "hybrid"])
def test_the_digest_of_every_piece_fits_its_content_and_no_other(tmp_path: Path, version: int) -> None:
    release = write_release(tmp_path / "r", {"a": 100_001, "b": 99, "c": 0, "d": 40_000})
    entries = [
        lt.create_file_entry(f"r/{name}", size) for name, size in zip("abcd", (100_001, 99, 0, 40_000), strict=True)
    ]
    draft = lt.create_torrent(entries, 32768, version)
    lt.set_piece_hashes(draft, str(tmp_path), lambda _piece: None)
    torrent = bytes(lt.bencode(draft.generate()))
    layout, digests, files = read_layout(torrent), read_digests(torrent), contents(release)
    assert len(digests) == read_torrent(torrent).piece_count
    for piece, digest in digests.items():
        content = b"".join(
            files[span.path][span.offset : span.offset + span.length] if span.path else bytes(span.length)
            for span in layout.spans(piece)
        )
        assert digest.fits(_content(content))
        assert not digest.fits(_content(content[:-1] + bytes([content[-1] ^ 1])))


def test_pieces_that_few_peers_have_are_read_first_then_in_order(client: Client) -> None:
    choice = Choice(Layout([Extent("w", 0, 1000)], 10, padded=True), range(100))
    choice.add(Source(FileMirror("w", "https://a.example/w"), 1000, client))
    assert choice.plan({}) is None
    run = choice.plan({piece: 0 if 40 <= piece < 50 else 2 for piece in range(100)})
    assert run is not None
    assert (run.first, run.last) == (40, 42)  # a thirty-second of what is missing
    assert choice.plan(dict.fromkeys(range(200, 300), 0)) is None


def test_two_mirrors_share_the_work(client: Client) -> None:
    choice = Choice(Layout([Extent("w", 0, 1000)], 10, padded=True), range(100))
    sources = [Source(FileMirror("w", f"https://{host}.example/w"), 1000, client) for host in "ab"]
    for source in sources:
        choice.add(source)
        source.ranged = True
    runs = [choice.plan(dict.fromkeys(range(100), 0)) for _ in range(4)]
    assert [source.readers for source in sources] == [2, 2]
    for run in runs:
        assert run is not None
        run.end()
    assert [source.readers for source in sources] == [0, 0]


def test_a_piece_that_two_mirrors_got_wrong_together_is_not_read_from_them_again(client: Client) -> None:
    choice = Choice(Layout([Extent("a", 0, 15), Extent("b", 15, 5)], 10, padded=True), range(2))
    a, b, other = (Source(FileMirror(path, "https://x.example/"), 15, client) for path in "aba")
    for source in (a, b):
        choice.add(source)
        source.ranged = True
    choice.refute(1, frozenset({a, b}))
    assert choice.assign(1, Run(1, 1, whole=False)) is None
    choice.add(other)
    assert choice.assign(1, Run(1, 1, whole=False)) == {"a": other, "b": b}


def _content(content: bytes) -> Content:
    return Content("a piece", content)
