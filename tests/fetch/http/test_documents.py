import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from magnetar.errors import OutsideError, TorrentError, UsageError
from magnetar.fetch.http.documents import download_torrent
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.fetch.torrent.metadata import MAX_TORRENT_BYTES
from magnetar.fetch.torrent.metainfo import read_torrent


class Handler(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/release.torrent")
            self.end_headers()
            return
        if self.path not in ("/release.torrent", "/huge"):
            self.send_error(404)
            return
        self.send_response(200)
        size = MAX_TORRENT_BYTES + 1 if self.path == "/huge" else len(self.content)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_words: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "weights").write_bytes(b"w" * 40_000)
    Handler.content = create_torrent(tmp_path / "release")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/release.torrent", "/moved"])
def test_a_torrent_is_taken_from_its_url_and_from_where_that_leads(server: str, path: str) -> None:
    assert read_torrent(download_torrent(server + path)).name == "release"


def test_a_page_that_is_not_there_is_a_failure_outside(server: str) -> None:
    with pytest.raises(OutsideError, match="404"):
        download_torrent(server + "/absent")


def test_what_is_larger_than_any_torrent_is_not_downloaded(server: str) -> None:
    with pytest.raises(TorrentError, match="at most"):
        download_torrent(server + "/huge")


def test_only_http_is_spoken() -> None:
    with pytest.raises(UsageError):
        download_torrent("file:///etc/passwd")
