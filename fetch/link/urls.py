"""Web addresses: the host of a URL, and a URL without its secrets."""

import re
from urllib.parse import urlsplit

from magnetar.errors import UsageError

_UNFIT = re.compile(r"[\x00-\x20\x7f]")


def host_of(url: str) -> str:
    """The host of an ``http`` or ``https`` URL, in lower case. Raises ``UsageError`` if it is not such a URL."""
    try:
        split = urlsplit(url)
        host, _port = split.hostname, split.port
    except ValueError:
        host = None
    if not host or split.scheme not in ("http", "https") or _UNFIT.search(url):
        raise UsageError(f"{url[:200]!r}: is not the URL of a mirror", hint="a mirror is reached by http or https")
    return host


def shown(url: str) -> str:
    """A URL for a message: without its query and its user, which may hold a key."""
    split = urlsplit(url)
    return split._replace(netloc=split.netloc.rpartition("@")[2], query="", fragment="").geturl()
