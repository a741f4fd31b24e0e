"""Which URLs and addresses may be asked because a foreign document names them. Pure: nothing here does input or output.

A manifest, or a server that redirects, could otherwise make this machine talk to its neighbours, or to the metadata
service of the cloud that it runs in.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from magnetar.errors import OutsideError, UsageError
from magnetar.fetch.link.urls import host_of, shown

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last four bytes


class NotAllowed(OutsideError):
    """A URL or an address that must not be asked."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Only public addresses may be asked, with two exceptions.

    ``named`` are hosts that the user typed: they may have any address. With ``only_loopback``, nothing outside this
    machine may be asked.
    """

    named: frozenset[str] = frozenset()
    only_loopback: bool = False

    def check_url(self, url: str, *, before: str = "") -> None:
        """Raise ``NotAllowed`` unless ``url`` may be asked. ``before`` is the URL that redirected to it, if any did."""
        try:
            host = host_of(url)
        except UsageError as error:
            raise NotAllowed(error.message) from error
        if urlsplit(before).scheme == "https" and urlsplit(url).scheme != "https":
            raise NotAllowed(f"redirects from https to http, {shown(url)}")
        if host == "localhost" or host.endswith(".localhost"):
            self.check_address(host, "127.0.0.1")
        elif is_literal(host):
            self.check_address(host, host)

    def check_address(self, host: str, address: str) -> None:
        """Raise ``NotAllowed`` unless ``host`` may be asked at ``address``, a literal IPv4 or IPv6 address."""
        found = _unwrap(address)
        if self.only_loopback and not found.is_loopback:
            raise NotAllowed(f"{host} is not on this machine")
        if host.lower().strip("[]") not in self.named and (not found.is_global or found.is_multicast):
            raise NotAllowed(f"{host} has the private address {found}, and only a host that you name may have one")


def is_literal(host: str) -> bool:
    """Whether a host is an address rather than a name."""
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def _unwrap(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, or the IPv4 address that is embedded in it (mapped, 6to4 or NAT64)."""
    found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        return inner or found
    return found
