"""HTTP requests (RFC 9110): byte ranges as streams, and small whole answers.

This module and ``connections`` are the only ones that know urllib3.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urljoin, urlsplit
from weakref import WeakSet

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from magnetar.errors import OutsideError
from magnetar.fetch.http.address_policy import AddressPolicy
from magnetar.fetch.http.connections import binding, environment_proxy, open_direct, open_proxied
from magnetar.fetch.http.deadline import Deadline
from magnetar.fetch.link.urls import host_of, shown

MAX_REDIRECTIONS = 8
CONNECT_TIMEOUT = 15.0
"""Seconds for a connection to be made."""
READ_TIMEOUT = 30.0
"""Seconds without a byte after which a read fails."""
MIN_BYTES_PER_SECOND = 1024
"""A stream that has taken longer than ``READ_TIMEOUT`` in all, and is slower than this on average, fails."""
MAX_PAUSE = 120.0
"""Seconds: the longest ``Retry-After`` that is obeyed."""
CHUNK = 256 << 10
"""Bytes of one read."""

_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_HEADERS = {"User-Agent": "magnetar", "Accept-Encoding": "identity"}


class HttpFailed(OutsideError):
    """A server did not give what was asked for. ``passing``: it may do so after ``pause`` seconds."""

    def __init__(self, message: str, *, passing: bool = False, pause: float = 0.0) -> None:
        super().__init__(message)
        self.passing = passing
        self.pause = pause


class AnswerTooLarge(HttpFailed):
    """An answer has more bytes than the caller takes."""


class DeadlinePassed(HttpFailed):
    """The whole answer was not there in time."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Answer:
    """An answer whose body is about to be read. ``url`` is where the last redirection led.

    ``partial``: the body begins at the byte that was asked for; otherwise at byte 0. The resource has ``total`` bytes,
    None if the server does not say.
    """

    url: str
    partial: bool
    total: int | None
    response: urllib3.BaseHTTPResponse

    def chunks(self, length: int) -> Iterator[bytes]:
        """The next ``length`` bytes. Raises ``HttpFailed`` if they do not come, or come too slowly."""
        spent = 0.0
        left = length
        while left:
            began = time.monotonic()
            with _foreign_errors(self.url):
                chunk = self.response.read(min(left, CHUNK), decode_content=False)
            spent += time.monotonic() - began
            if not chunk:
                raise HttpFailed(f"the answer ends {left:,} bytes too early", passing=True)
            left -= len(chunk)
            if spent > READ_TIMEOUT and (length - left) / spent < MIN_BYTES_PER_SECOND:
                raise HttpFailed(f"sends less than {MIN_BYTES_PER_SECOND} bytes a second", passing=True)
            yield chunk

    def close(self) -> None:
        """Give the connection back to the pool if the body was read to its end; else close it."""
        _let_go(self.response)

    def interrupt(self) -> None:
        """End a read that waits in another thread."""
        with suppress(ValueError, RuntimeError, OSError):  # it may have ended by itself
            cast(urllib3.HTTPResponse, self.response).shutdown()


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer with its whole body. ``location`` is where it redirects to; empty if nowhere."""

    status: int
    location: str
    content: bytes


class Client:
    """A pool of connections that keeps to an ``AddressPolicy``. Safe to use from several threads.

    Proxies are those of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``), or ``proxy`` if it is given;
    with ``direct`` there is none. A name is resolved by the proxy, whose address the user chose; literal addresses in
    URLs are still checked. With ``interface`` (its name, or one of its addresses) connections leave by it alone.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        proxy: str = "",
        direct: bool = False,
        interface: str = "",
        connections: int = 8,
    ) -> None:
        self._policy = policy
        self._proxy = proxy
        self._uses_proxies = not (direct or policy.only_loopback)
        self._interface = interface
        self._settings: dict[str, Any] = {"maxsize": connections, "headers": _HEADERS, **binding(interface)}
        self._direct = open_direct(policy, self._settings)
        self._proxied: dict[str, urllib3.ProxyManager] = {}
        self._answers: WeakSet[Answer] = WeakSet()

    def get(self, url: str, first: int = 0, last: int | None = None) -> Answer:
        """Ask for bytes ``first`` to ``last``, inclusive. A server without ranges answers from byte 0 on instead.

        Redirections are followed. Raises ``HttpFailed``, ``NotAllowed``.
        """
        headers = {"Range": f"bytes={first}-{'' if last is None else last}"}
        before = ""
        for _ in range(MAX_REDIRECTIONS + 1):
            self._policy.check_url(url, before=before)
            response = self._request("GET", url, headers, urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT))
            if response.status not in _REDIRECTIONS:
                answer = _answer(url, first, response)
                self._answers.add(answer)
                return answer
            response.close()
            before, url = url, _location(url, response)
        raise HttpFailed(f"more than {MAX_REDIRECTIONS} redirections")

    def exchange(
        self,
        method: str,
        url: str,
        *,
        max_bytes: int,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> WholeAnswer:
        """Send ``body`` and read the whole answer, whatever its status. Redirections are not followed.

        Raises ``AnswerTooLarge`` for a body of more than ``max_bytes``, ``DeadlinePassed`` if the last byte is not
        there after ``seconds`` (however the server spreads them), ``HttpFailed``, ``NotAllowed``.
        """
        self._policy.check_url(url)
        timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT, seconds), read=seconds)
        with Deadline(seconds) as deadline:
            try:
                response = self._request(method, url, headers or {}, timeout, body)
                try:
                    content = _read_whole(url, response, max_bytes)
                finally:
                    _let_go(response)
            except HttpFailed as error:
                if deadline.has_passed or isinstance(error.__cause__, urllib3.exceptions.ReadTimeoutError):
                    raise DeadlinePassed(f"did not answer within {seconds:g} seconds", passing=True) from error
                raise
        if deadline.has_passed:  # an answer that was cut short may read like a whole one
            raise DeadlinePassed(f"did not answer within {seconds:g} seconds", passing=True)
        return WholeAnswer(response.status, response.headers.get("Location", ""), content)

    def close(self) -> None:
        """End every read, whichever thread waits in it, and close the connections."""
        for answer in list(self._answers):
            answer.interrupt()
        for manager in (self._direct, *self._proxied.values()):
            manager.clear()

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], timeout: urllib3.Timeout, body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        with _foreign_errors(url):
            return self._manager(url).request(
                method,
                url,
                body=body,
                headers={**_HEADERS, **headers},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=timeout,
            )

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = (self._proxy or environment_proxy(url)) if self._uses_proxies else ""
        if self._interface and not binding(self._interface):
            raise HttpFailed(f"cannot be reached by way of {self._interface} alone: name one of its addresses instead")
        if not proxy:
            return self._direct
        if urlsplit(proxy).scheme not in ("http", "https"):
            raise HttpFailed(f"cannot be reached through the proxy {shown(proxy)}: only those of http are spoken")
        if proxy not in self._proxied:
            self._proxied[proxy] = open_proxied(proxy, self._settings)
        return self._proxied[proxy]


def _let_go(response: urllib3.BaseHTTPResponse) -> None:
    """Give the connection back to the pool if the body was read to its end; else close it."""
    if response.closed or response.length_remaining == 0:
        response.release_conn()
    else:
        response.close()


def _read_whole(url: str, response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    left = max_bytes + 1
    while left:
        with _foreign_errors(url):
            chunk = response.read(min(left, CHUNK), decode_content=False)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
    raise AnswerTooLarge(f"its answer has more than {max_bytes:,} bytes")


def _answer(url: str, first: int, response: urllib3.BaseHTTPResponse) -> Answer:
    """Judge the head of an answer. Raises ``HttpFailed`` for any that does not bring bytes of the file."""
    try:
        if response.status == 206:
            return _partial(url, first, response)
        if response.status == 200:
            return Answer(url, False, response.length_remaining, response)
        raise _refusal(response)
    except HttpFailed:
        response.close()
        raise


def _partial(url: str, first: int, response: urllib3.BaseHTTPResponse) -> Answer:
    range_header = response.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(range_header.strip())
    if not found or int(found[1]) != first:
        raise HttpFailed(f"was asked for bytes from {first}, and answers with {range_header[:60]!r}")
    return Answer(url, True, None if found[3] == "*" else int(found[3]), response)


def _refusal(response: urllib3.BaseHTTPResponse) -> HttpFailed:
    reason = f"answers {response.status} {response.reason or ''}".strip()
    passing = response.status in _PASSING
    return HttpFailed(reason, passing=passing, pause=_retry_after(response) if passing else 0.0)


def _location(url: str, response: urllib3.BaseHTTPResponse) -> str:
    location = response.headers.get("Location", "")
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise HttpFailed(f"redirects to {location[:100]!r}, which is no address") from error


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds that the server wants to be left alone: a number, or a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_PAUSE)


@contextmanager
def _foreign_errors(url: str) -> Iterator[None]:
    """Wrap what urllib3 and the socket raise."""
    try:
        yield
    except LocationParseError as error:
        raise HttpFailed(f"has an address that cannot be read: {shown(url)}") from error
    except (HTTPError, OSError) as error:
        raise HttpFailed(f"{host_of(url)} does not answer: {_cause(error)}", passing=True) from error


def _cause(error: BaseException) -> str:
    """The last line of what went wrong, without urllib3's own objects in it."""
    text = str(error).rpartition(": ")[2] or type(error).__name__
    return text[:200]
