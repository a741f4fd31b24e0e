"""Connections for the HTTP client: where they may lead, which proxy and interface they use, and when they must end."""

import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed, is_literal
from magnetar.fetch.http.deadline import watch_socket
from magnetar.fetch.link.urls import host_of


def open_direct(policy: AddressPolicy, settings: dict[str, Any]) -> urllib3.PoolManager:
    """A pool of connections that lead only where ``policy`` allows."""
    manager = urllib3.PoolManager(**settings)
    manager.pool_classes_by_scheme = watched_pools(policy)
    return manager


def open_proxied(proxy: str, settings: dict[str, Any]) -> urllib3.ProxyManager:
    """A pool of connections through the proxy at a URL, which may hold a user and a password."""
    auth = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
    manager = urllib3.ProxyManager(proxy, proxy_headers=headers, **settings)
    manager.pool_classes_by_scheme = watched_pools(None)  # the proxy's own address is the user's choice
    return manager


def binding(interface: str) -> dict[str, Any]:
    """The settings that make a connection leave by an interface; none where the system cannot bind to its name."""
    if is_literal(interface):
        return {"source_address": (interface, 0)}
    option = getattr(socket, "SO_BINDTODEVICE", None)
    if not interface or option is None:
        return {}
    name = (socket.SOL_SOCKET, option, interface.encode() + b"\0")
    return {"socket_options": [*HTTPConnection.default_socket_options, name]}


def environment_proxy(url: str) -> str:
    """The proxy that the environment names for a URL; empty if none."""
    split = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(split.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(host_of(url)):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


class _WatchedConnection:
    """Checks the address that a connection leads to before anything is sent: a name may resolve differently by then.

    Its socket is also made known to the deadline of the request that uses it, if that has one.
    """

    policy: AddressPolicy | None
    host: str
    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]  # a mixin: urllib3's class follows
        try:
            if self.policy is not None:
                self.policy.check_address(self.host, connected.getpeername()[0])
        except NotAllowed:
            connected.close()
            raise
        watch_socket(connected)
        return connected

    def request(self, *arguments: Any, **named: Any) -> None:
        if self.sock is not None:  # kept from an earlier request, or wrapped for TLS since it was made
            watch_socket(self.sock)
        super().request(*arguments, **named)  # type: ignore[misc]  # as above


def watched_pools(policy: AddressPolicy | None) -> dict[str, Any]:
    """urllib3's pools by scheme, of connections that are checked by ``policy`` unless it is None."""

    class Plain(_WatchedConnection, HTTPConnection):
        pass

    class Secure(_WatchedConnection, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    Plain.policy = Secure.policy = policy
    return {"http": PlainPool, "https": SecurePool}
