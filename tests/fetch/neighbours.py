"""Others on the network, on 127.0.0.1: a tracker, proxies, a node of the DHT, a peer with odd habits."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import libtorrent as lt


class Tracker:
    """An HTTP tracker that knows one peer, or refuses with a reason. ``asked`` are the requests, newest last."""

    def __init__(self, answer: bytes) -> None:
        self.asked: list[str] = []
        tracker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tracker.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_words: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/announce"
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def knowing(port: int) -> bytes:
    """A tracker's answer that names one peer on this machine."""
    return b"d8:intervali60e5:peers6:" + socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big") + b"e"


def refusing(reason: bytes) -> bytes:
    return b"d14:failure reason%d:%se" % (len(reason), reason)


class Proxy:
    """A SOCKS5 proxy (RFC 1928, with a password by RFC 1929), or an HTTP one (CONNECT). ``reached`` are ports."""

    def __init__(self, kind: str, password: str = "") -> None:
        self.reached: list[int] = []
        self._kind, self._password = kind, password
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._attend, args=[client], daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError, IndexError):
            port = self._greet_socks(client) if self._kind == "socks5" else self._greet_http(client)
            with socket.create_connection(("127.0.0.1", port)) as peer:
                self.reached.append(port)
                ok = b"\5\0\0\1" + bytes(6) if self._kind == "socks5" else b"HTTP/1.0 200 OK\r\n\r\n"
                client.sendall(ok)
                back = threading.Thread(target=_pour, args=[peer, client], daemon=True)
                back.start()
                _pour(client, peer)
                back.join()

    def _greet_socks(self, client: socket.socket) -> int:
        methods = client.recv(300)[2:]
        if self._password:
            if 2 not in methods:
                raise ValueError("no password offered")
            client.sendall(b"\5\2")
            words = client.recv(600)
            if self._password.encode() not in words:
                raise ValueError("wrong password")
            client.sendall(b"\1\0")
        else:
            client.sendall(b"\5\0")
        request = client.recv(300)
        if request[1] != 1:
            raise ValueError("only CONNECT")
        return int.from_bytes(request[-2:], "big")

    def _greet_http(self, client: socket.socket) -> int:
        verb, place, *_ = client.recv(2000).split()
        if verb != b"CONNECT":
            raise ValueError("only CONNECT")
        return int(place.rpartition(b":")[2])


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def free_port() -> int:
    """A port that nobody listens on, from below those that systems give to whoever asks for any (RFC 6335)."""
    while True:
        port = random.randrange(20_000, 32_000)
        with closing(socket.socket()) as taken, suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


ALONE = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "dht_bootstrap_nodes": "",
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_ip_notifier": False,
    "webtorrent_stun_server": "",
    "allow_multiple_connections_per_ip": True,
}


def dht_node() -> Any:
    """A node of the DHT that knows nobody yet. It lives as long as the session that is returned."""
    nearby = {"dht_restrict_routing_ips": False, "dht_restrict_search_ips": False}
    return lt.session({**ALONE, **nearby, "enable_dht": True})


@contextmanager
def peer_over_utp_only(folder: Path, torrent: bytes) -> Iterator[int]:
    """A seeder behind something that lets no TCP through; its port."""
    settings = {"enable_incoming_tcp": False, "enable_outgoing_tcp": False}
    session = lt.session({**ALONE, **settings})
    params = lt.load_torrent_buffer(torrent)
    params.save_path = str(folder.parent)
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    handle = session.add_torrent(params)
    while not handle.status().is_seeding:
        session.wait_for_alert(50)
        session.pop_alerts()
    yield int(session.listen_port())
    del handle, session
