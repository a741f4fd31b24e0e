"""Byte ranges by HTTP (RFC 9110): one request, its redirections, and its answer as a stream. The door to urllib3."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError

from magnetar.errors import OutsideError
from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed, is_literal
from magnetar.fetch.link.urls import host_of, shown

MOST_REDIRECTIONS = 8
CONNECT_PATIENCE = 15.0  # seconds
READ_PATIENCE = 30.0
SLOWEST = 1024  # bytes a second, once READ_PATIENCE is over
LONGEST_PAUSE = 120.0
CHUNK = 256 << 10

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


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Answer:
    """An answer whose body is about to be read. ``url`` is where the last redirection led.

    ``partial``: it begins where it was asked to; otherwise at byte 0. What the URL names has ``total`` bytes, or None
    if the server does not say.
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
            if spent > READ_PATIENCE and (length - left) / spent < SLOWEST:
                raise HttpFailed(f"sends less than {SLOWEST} bytes a second", passing=True)
            yield chunk

    def close(self) -> None:
        """Let go of the connection: for further use if the body was read to its end."""
        if self.response.closed or self.response.length_remaining == 0:
            self.response.release_conn()
        else:
            self.response.close()

    def interrupt(self) -> None:
        """End a read that waits in another thread."""
        with suppress(ValueError, RuntimeError, OSError):  # it may have ended by itself
            cast(urllib3.HTTPResponse, self.response).shutdown()


class Client:
    """A pool of connections that keeps to an ``AddressPolicy``. Safe to use from several threads.

    Proxies are those of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``), or ``proxy`` if it is given.
    Behind a proxy, whose address is the user's own choice, a name is the proxy's to resolve; literal addresses in URLs
    are still checked. With ``interface``, its name or one of its addresses, connections leave by it alone.
    """

    def __init__(self, policy: AddressPolicy, *, proxy: str = "", interface: str = "", connections: int = 8) -> None:
        self._policy = policy
        self._proxy = proxy
        self._interface = interface
        self._settings: dict[str, Any] = {"maxsize": connections, "headers": _HEADERS, **_binding(interface)}
        self._direct = urllib3.PoolManager(**self._settings)
        self._direct.pool_classes_by_scheme = _checked_pools(policy)
        self._proxied: dict[str, urllib3.ProxyManager] = {}
        self._answers: WeakSet[Answer] = WeakSet()

    def get(self, url: str, first: int = 0, last: int | None = None) -> Answer:
        """Ask for bytes ``first`` to ``last``, inclusive. A server without ranges answers from byte 0 on instead.

        Raises ``HttpFailed``, ``NotAllowed``.
        """
        before = ""
        for _ in range(MOST_REDIRECTIONS + 1):
            self._policy.check_url(url, before=before)
            response = self._request(url, f"bytes={first}-{'' if last is None else last}")
            if response.status not in _REDIRECTIONS:
                answer = _answer(url, first, response)
                self._answers.add(answer)
                return answer
            response.close()
            before, url = url, _location(url, response)
        raise HttpFailed(f"more than {MOST_REDIRECTIONS} redirections")

    def close(self) -> None:
        """End every read, whichever thread waits in it, and close the connections."""
        for answer in list(self._answers):
            answer.interrupt()
        for manager in (self._direct, *self._proxied.values()):
            manager.clear()

    def _request(self, url: str, wanted: str) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(connect=CONNECT_PATIENCE, read=READ_PATIENCE)
        with _foreign_errors(url):
            return self._manager(url).request(
                "GET",
                url,
                headers={**_HEADERS, "Range": wanted},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=timeout,
            )

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = self._proxy or _environment_proxy(url)
        if self._interface and not _binding(self._interface):
            raise HttpFailed(f"cannot be reached by way of {self._interface} alone: name one of its addresses instead")
        if not proxy or self._policy.only_loopback:
            return self._direct
        if urlsplit(proxy).scheme not in ("http", "https"):
            raise HttpFailed(f"cannot be reached through the proxy {shown(proxy)}: only those of http are spoken")
        if proxy not in self._proxied:
            self._proxied[proxy] = _proxy_manager(proxy, self._settings)
        return self._proxied[proxy]


def _proxy_manager(proxy: str, settings: dict[str, Any]) -> urllib3.ProxyManager:
    auth = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **settings)


def _binding(interface: str) -> dict[str, Any]:
    """What makes a connection leave by an interface: nothing where the system cannot bind to one by its name."""
    if is_literal(interface):
        return {"source_address": (interface, 0)}
    option = getattr(socket, "SO_BINDTODEVICE", None)
    if not interface or option is None:
        return {}
    name = (socket.SOL_SOCKET, option, interface.encode() + b"\0")
    return {"socket_options": [*HTTPConnection.default_socket_options, name]}


def _environment_proxy(url: str) -> str:
    split = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(split.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(host_of(url)):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


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
    said = response.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(said.strip())
    if not found or int(found[1]) != first:
        raise HttpFailed(f"was asked for bytes from {first}, and answers with {said[:60]!r}")
    return Answer(url, True, None if found[3] == "*" else int(found[3]), response)


def _refusal(response: urllib3.BaseHTTPResponse) -> HttpFailed:
    reason = f"answers {response.status} {response.reason or ''}".strip()
    passing = response.status in _PASSING
    return HttpFailed(reason, passing=passing, pause=_retry_after(response) if passing else 0.0)


def _location(url: str, response: urllib3.BaseHTTPResponse) -> str:
    said = response.headers.get("Location", "")
    try:
        return urljoin(url, said)
    except ValueError as error:
        raise HttpFailed(f"redirects to {said[:100]!r}, which is no address") from error


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds that the server wants to be left alone: a number, or a date (RFC 9110, section 10.2.3)."""
    said = response.headers.get("Retry-After", "")
    try:
        seconds = float(said) if said.isdecimal() else parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE)


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


class _CheckedConnection:
    """Checks the address that a connection really leads to, before anything is sent: names can change their minds."""

    policy: AddressPolicy
    host: str

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        try:
            self.policy.check_address(self.host, connected.getpeername()[0])
        except NotAllowed:
            connected.close()
            raise
        return connected


def _checked_pools(policy: AddressPolicy) -> dict[str, Any]:
    class Plain(_CheckedConnection, HTTPConnection):
        pass

    class Secure(_CheckedConnection, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    Plain.policy = Secure.policy = policy
    return {"http": PlainPool, "https": SecurePool}
