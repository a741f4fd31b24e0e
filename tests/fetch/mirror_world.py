"""HTTP servers on 127.0.0.1 that behave well, or in one of the ways in which mirrors do not."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class MirrorServer:
    """What it serves, by path, and how. ``asked`` are the requests that it saw: path, and range or "".

    ``corrupt`` inverts a byte of each answer to these paths; ``redirect`` sends to another URL first; ``status``
    answers with that and a page; ``stalls_after`` bytes of each body it goes silent; ``rate`` is bytes a second.
    ``clients`` are the addresses that asked. ``fails`` answers that many requests with 503 first.
    """

    files: dict[str, bytes]
    ranges: bool = True
    corrupt: frozenset[str] = frozenset()
    redirect: Callable[[str], str | None] = lambda _path: None
    status: int = 0
    page_as_200: bool = False
    stalls_after: int | None = None
    rate: int | None = None
    fails: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    clients: set[str] = field(default_factory=set)
    sent: int = 0
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        mirror = self.server.mirror
        path = unquote(urlsplit(self.path).path).lstrip("/")
        mirror.asked.append((path, self.headers.get("Range", "")))
        mirror.clients.add(self.client_address[0])
        elsewhere = mirror.redirect(self.path)
        if elsewhere:
            return self._head(302, 0, Location=elsewhere)
        if mirror.fails:
            mirror.fails -= 1
            return self._page(503)
        if mirror.status or mirror.page_as_200 or path not in mirror.files:
            return self._page(mirror.status or (200 if mirror.page_as_200 else 404))
        return self._body(path, mirror.files[path])

    def _body(self, path: str, content: bytes) -> None:
        mirror = self.server.mirror
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and mirror.ranges:
            first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
            if first > last:
                return self._page(416)
            body = content[first : last + 1]
            self._head(206, len(body), **{"Content-Range": f"bytes {first}-{last}/{len(content)}"})
        else:
            body = content
            self._head(200, len(body))
        if path in mirror.corrupt:
            body = bytes([body[0] ^ 1]) + body[1:]
        return self._send(body)

    def _send(self, body: bytes) -> None:
        mirror = self.server.mirror
        step = 16384
        for begin in range(0, len(body), step):
            if mirror.stalls_after is not None and begin >= mirror.stalls_after:
                mirror.over.wait()
                self.close_connection = True
                return
            chunk = body[begin : begin + step]
            self.wfile.write(chunk)
            mirror.sent += len(chunk)
            if mirror.rate:
                time.sleep(len(chunk) / mirror.rate)

    def _page(self, status: int) -> None:
        page = b"<html>sorry</html>"
        self._head(status, len(page))
        self.wfile.write(page)

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    mirror: MirrorServer

    def handle_error(self, *_args: object) -> None:
        pass  # a client that hangs up is no news


@contextmanager
def mirror_server(files: dict[str, bytes], **behaviour: object) -> Iterator[MirrorServer]:
    """Serve ``files`` until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    mirror = server.mirror = MirrorServer(files, **behaviour)  # type: ignore[arg-type]
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
