import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed
from magnetar.fetch.http.client import AnswerTooLarge, Client, DeadlinePassed, HttpFailed, WholeAnswer
from tests import needs
from tests.fetch.mirror_world import mirror_server
from tests.patience import PATIENCE

HERE = AddressPolicy(frozenset({"127.0.0.1"}))


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(HERE)
    yield made
    made.close()


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


def test_a_direct_client_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror_server({"w": b"by proxy"}) as proxy, mirror_server({"w": b"directly"}) as mirror:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        whole = Client(HERE, direct=True).exchange("GET", f"{mirror.url}/w", max_bytes=99, seconds=20)
    assert whole.content == b"directly"
    assert not proxy.asked


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
        monkeypatch.setattr("magnetar.fetch.http.client.READ_TIMEOUT", 0.3)
        with pytest.raises(HttpFailed) as caught, closing(client.get(f"{mirror.url}/w")) as answer:
            list(answer.chunks(100_000))
    assert caught.value.passing


@contextmanager
def raw_server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A server that reads what comes first of each connection, and lets ``answer`` write to it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def work() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        answer(connection, connection.recv(65536))

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def ask(url: str, body: bytes | None = None, *, max_bytes: int = 1000, seconds: float = PATIENCE) -> WholeAnswer:
    client = Client(HERE, direct=True, connections=1)
    method = "GET" if body is None else "POST"
    headers = {"Content-Type": "application/json"}
    try:
        return client.exchange(method, url, body=body, headers=headers, max_bytes=max_bytes, seconds=seconds)
    finally:
        client.close()


def test_a_body_is_posted_and_answered_whatever_the_status() -> None:
    seen: list[bytes] = []

    def refuse(connection: socket.socket, request: bytes) -> None:
        while not request.endswith(b"}"):
            request += connection.recv(100)
        seen.append(request)
        connection.sendall(b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}")

    with raw_server(refuse) as url:
        assert ask(url, json.dumps({"a": 1}).encode()) == WholeAnswer(422, "", b"{}")
    assert seen[0].startswith(b"POST /v1 HTTP/1.1\r\n")
    assert b"Content-Type: application/json\r\n" in seen[0]
    assert seen[0].endswith(b'\r\n\r\n{"a": 1}')


def test_a_redirection_is_told_and_not_followed() -> None:
    with mirror_server({}, redirect=lambda path: path) as mirror:
        answer = ask(f"{mirror.url}/w")
    assert (answer.status, answer.location) == (302, "/w")
    assert len(mirror.asked) == 1


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_an_answer_may_be_as_large_as_the_caller_says_and_no_larger(size: int) -> None:
    with mirror_server({"w": bytes(size)}) as mirror:
        if size > 1000:
            with pytest.raises(AnswerTooLarge, match="more than 1,000 bytes"):
                ask(f"{mirror.url}/w")
        else:
            assert ask(f"{mirror.url}/w").content == bytes(size)


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["silence", "a header without an end", "a body that drips", "a body of unknown length"],
)
def test_the_deadline_holds_for_the_whole_answer_however_it_drips(head: bytes) -> None:
    over = threading.Event()

    def drip(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head)
        while head and not over.wait(0.05):
            connection.sendall(b"x")
        over.wait()

    with raw_server(drip) as url:
        with pytest.raises(DeadlinePassed, match=r"did not answer within 0\.3 seconds"):
            ask(url, seconds=0.3)
        over.set()


def test_an_answer_that_is_cut_short_is_no_answer() -> None:
    def hang_up(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    with raw_server(hang_up) as url, pytest.raises(HttpFailed, match="does not answer"):
        ask(url)


def test_an_answer_of_one_request_does_not_end_with_the_deadline_of_another() -> None:
    with mirror_server({"slow": bytes(60_000), "w": b"w"}, rate=60_000) as mirror:
        client = Client(HERE, direct=True)
        answer = client.get(f"{mirror.url}/slow")
        assert client.exchange("GET", f"{mirror.url}/w", max_bytes=9, seconds=0.2).content == b"w"
        assert sum(map(len, answer.chunks(60_000))) == 60_000
        answer.close()
        client.close()
