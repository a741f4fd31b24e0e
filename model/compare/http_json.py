"""JSON by HTTP to one server: no redirection is followed, no proxy asked, and every answer has a size and an end."""

import json
import socket
import ssl
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Event, Timer
from typing import Any, Self
from urllib.parse import urlsplit

from magnetar.errors import OutsideError, Stalled, UsageError

CONNECT_PATIENCE = 15.0  # seconds
PATIENCE = 300.0
"""Seconds for a whole answer: a large model on a slow machine reads a prompt for minutes."""

LARGEST = 64 << 20
"""Bytes of an answer. That of vLLM to 512 tokens has a quarter of a megabyte."""

LONGEST_WORDS = 300


class Talk:
    """One connection to the server at ``url``, kept while it is entered. ``key`` goes along as a bearer token.

    Raises ``UsageError`` for a URL that is not plain http or https.
    """

    def __init__(self, url: str, key: str = "", patience: float | None = None) -> None:
        try:
            parts = urlsplit(url)
            self._port, host = parts.port, parts.hostname
        except ValueError as error:
            raise UsageError(f"{url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isascii():
            raise UsageError(f"{url!r} is not the address of a server", hint="like http://127.0.0.1:8000")
        if parts.username or parts.password or not (key.isascii() and key.isprintable()):
            raise UsageError(
                "a key has no place in the URL of a server", hint="put it into MAGNETAR_AGAINST_KEY, as it is"
            )
        self._secure, self._host, self._key = parts.scheme == "https", host, key
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._patience = PATIENCE if patience is None else patience
        self._connection: HTTPConnection | None = None
        self.name = f"{parts.scheme}://{parts.netloc}{self._prefix}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._hang_up()

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at ``path``. Raises ``OutsideError``."""
        return self._ask("GET", path, None, lenient=False)

    def post(self, path: str, body: object, *, lenient: bool = False) -> dict[str, Any]:
        """What is answered to ``body``; to a request that is refused as a bad one, nothing if ``lenient``."""
        return self._ask("POST", path, json.dumps(body).encode(), lenient=lenient)

    def _ask(self, method: str, path: str, body: bytes | None, *, lenient: bool) -> dict[str, Any]:
        expired = Event()
        try:
            connection = self._connect()
            clock = Timer(self._patience, _end, (connection.sock, expired))
            clock.daemon = True
            clock.start()
            try:
                status, location, content = self._exchange(connection, method, path, body)
            finally:
                clock.cancel()
        except (OSError, HTTPException) as error:
            self._hang_up()
            if expired.is_set() or isinstance(error, TimeoutError):
                raise self._stalled() from error
            words = str(error) or type(error).__name__
            raise OutsideError(f"{self.name}: {words}", hint="is the server running?") from error
        if expired.is_set():  # an answer that was cut short may read like a whole one
            self._hang_up()
            raise self._stalled()
        return self._read(path, status, location, content, lenient=lenient)

    def _connect(self) -> HTTPConnection:
        if self._connection is None:
            patience = min(CONNECT_PATIENCE, self._patience)
            opened: HTTPConnection = HTTPConnection(self._host, self._port, timeout=patience)
            if self._secure:
                context = ssl.create_default_context()
                opened = HTTPSConnection(self._host, self._port, timeout=patience, context=context)
            opened.connect()
            opened.sock.settimeout(self._patience)
            self._connection = opened
        return self._connection

    def _exchange(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None
    ) -> tuple[int, str, bytes]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "magnetar"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        connection.request(method, self._prefix + path, body, headers)
        response = connection.getresponse()
        content = response.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OutsideError(f"{self.name}: its answer has more than {LARGEST:,} bytes", hint="is it such a server?")
        if response.will_close:
            self._hang_up()
        return response.status, response.getheader("Location", ""), content

    def _read(self, path: str, status: int, location: str, content: bytes, *, lenient: bool) -> dict[str, Any]:
        if 300 <= status < 400:
            raise OutsideError(
                f"{self.name}: redirects to {location[:LONGEST_WORDS] or 'nowhere'}, and is not followed",
                hint="name the server that answers",
            )
        if status in (400, 422) and lenient:
            return {}
        told = _parse(content)
        if status >= 400:
            words = _find_message(told) or content[:LONGEST_WORDS].decode("utf-8", "replace")
            raise OutsideError(f"{self.name}: {path} answers {status}: {words}")
        if not isinstance(told, dict):
            raise OutsideError(f"{self.name}: {path} is not answered with a JSON object", hint="is it such a server?")
        return told

    def _stalled(self) -> Stalled:
        return Stalled(f"{self.name}: did not answer within {self._patience:g} seconds", hint="is the server busy?")

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _end(connected: socket.socket, expired: Event) -> None:
    """Make every read of a connection end, whatever trickles in."""
    expired.set()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _parse(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _find_message(told: object) -> str:
    """The words in ``{"error": {"message": …}}``, or in vLLM's older ``{"message": …}``."""
    if not isinstance(told, dict):
        return ""
    error = told.get("error")
    words = error.get("message") if isinstance(error, dict) else told.get("message")
    return words[:LONGEST_WORDS] if isinstance(words, str) else ""
