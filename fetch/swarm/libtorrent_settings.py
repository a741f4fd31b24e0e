"""The settings of a libtorrent session, as plain values: some chosen by measurement, some asked for by the user."""

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from magnetar.errors import UsageError
from magnetar.fetch.request.options import Encryption, Network

_COMMON: dict[str, Any] = {
    "user_agent": "magnetar",
    # Over loopback and fast lines, outgoing uTP costs a factor of ten and half of the CPU; incoming stays on for
    # peers that can be reached in no other way.
    "enable_outgoing_utp": False,
    # Milliseconds. Peers are connected on a tick, so the default of 500 is what a small release would wait for.
    "tick_interval": 100,
    "aio_threads": 4,
    "hashing_threads": min(4, os.cpu_count() or 1),
    # A quarter of the default. With more in the queue the threads hinder each other: on a disk, 1 GiB took twice the
    # CPU seconds and twice the memory.
    "max_queued_disk_bytes": 256 << 10,
    # By default trackers are tried one by one, the dead ones too.
    "announce_to_all_trackers": True,
    "announce_to_all_tiers": True,
    # Seconds, times the number of failures. With the defaults of 60 and 3, a lone seeder that went away for a moment is
    # connected again after minutes, or never.
    "min_reconnect_time": 10,
    "max_failcount": 10,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_lsd": False,
    "webtorrent_stun_server": "",
}
_WITHOUT_DHT = {"enable_dht": False, "dht_bootstrap_nodes": ""}
_NEARBY = {"enable_ip_notifier": False, "allow_multiple_connections_per_ip": True}
# All nodes on this machine share an address. The table would take them for one node that pretends to be many.
_DHT_NEARBY = {"dht_restrict_routing_ips": False, "dht_restrict_search_ips": False}
_OFFLINE = {
    **_WITHOUT_DHT,
    "enable_ip_notifier": False,
    "listen_interfaces": "",
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "enable_incoming_utp": False,
}
# Listen exactly as asked, or not at all.
_THIS_ADDRESS = {"listen_system_port_fallback": False, "max_retry_port_bind": 0}
# Nobody is served, not even the few pieces that a newcomer may ask for before its turn (BEP 6).
_NO_UPLOAD = {"choking_algorithm": 0, "unchoke_slots_limit": 0, "allowed_fast_set_size": 0}

_POLICIES: dict[Encryption, int] = {"required": 0, "allowed": 1, "refused": 2}
_PROXY_KINDS = {"socks5": 2, "socks5h": 2, "http": 4}  # plus one if there is a password
USUAL_PORT = 6881
"""The port to listen on if the user asks for none."""
_PROXY_HINT = "write it as socks5://host:port, http://host:port, or with user:password@ before the host"


def settings_of(network: Network) -> dict[str, Any]:
    """The settings of a session that connects as ``network`` says. Raises ``UsageError`` for a bad proxy."""
    if network.offline:
        return {**_COMMON, **_OFFLINE}
    policy = _POLICIES[network.encryption]
    chosen = {
        **_COMMON,
        **_where_to_listen(network),
        **_dht(network),
        "in_enc_policy": policy,
        "out_enc_policy": policy,
        "enable_outgoing_utp": network.utp,
        "anonymous_mode": network.anonymous,
        # A call on the local network would not go through the proxy.
        "enable_lsd": network.lan and not (network.loopback or network.proxy),
    }
    if network.loopback:
        chosen |= _NEARBY
    if network.proxy:
        chosen |= _proxy(network.proxy)
    if not network.upload:
        chosen |= _NO_UPLOAD
    return chosen


def listening_place(network: Network) -> str:
    """Where the session listens: ``host:port``, several joined by commas."""
    if network.listen:
        return network.listen
    if network.loopback:
        return f"127.0.0.1:{network.port}"
    port = network.port or USUAL_PORT
    return f"{network.interface}:{port}" if network.interface else f"0.0.0.0:{port},[::]:{port}"


def must_listen(network: Network) -> bool:
    """Whether a session that cannot listen is an error: the user asked for a port or an address, or all is local."""
    asked = network.listen or network.port or network.interface or network.loopback
    return bool(asked) and not network.proxy


def _where_to_listen(network: Network) -> dict[str, Any]:
    exact = _THIS_ADDRESS if network.listen or network.port else {}
    return {
        "listen_interfaces": listening_place(network),
        "outgoing_interfaces": network.interface,
        **exact,
    }


def _dht(network: Network) -> dict[str, Any]:
    if not network.dht or (network.loopback and not network.bootstrap):
        return _WITHOUT_DHT
    first = {"dht_bootstrap_nodes": ",".join(network.bootstrap)} if network.bootstrap else {}
    return {"enable_dht": True, **first, **(_DHT_NEARBY if network.loopback else {})}


def _proxy(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the proxy's address cannot be read: {error}", hint=_PROXY_HINT) from error
    if parts.scheme not in _PROXY_KINDS or not parts.hostname or not port:
        raise UsageError("the proxy's address is not one that can be used", hint=_PROXY_HINT)
    return {
        "proxy_type": _PROXY_KINDS[parts.scheme] + (parts.username is not None),
        "proxy_hostname": parts.hostname,
        "proxy_port": port,
        "proxy_username": unquote(parts.username or ""),
        "proxy_password": unquote(parts.password or ""),
        # Names are resolved by the proxy, and everything goes through it.
        "proxy_hostnames": True,
        "proxy_peer_connections": True,
        "proxy_tracker_connections": True,
    }
