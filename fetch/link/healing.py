"""The repairs that links in circulation need. Each damage was seen in a published copy of a real release's link.

The commonest damage was done by a social network: it took ``2Fhost`` inside a percent-encoded tracker for a web
address. It put ``http://`` before it, or put its own short link in its place.
"""

import re
from urllib.parse import unquote, urlsplit

SHORT_LINKS = {
    "OdtBUsbeV5": "tracker.opentrackr.org",
    "2UepcMHjvL": "open.demonii.com",
    "NsTRgy7h8S": "tracker.ipv6tracker.org",
}
"""Hosts of trackers behind short links, found by comparing damaged copies of a link with an undamaged one."""

_WRAPPED = re.compile(r"\s*[\r\n]+\s*")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")
_AMPERSAND = re.compile(r"&(?:amp;|#38;|#x26;)", re.IGNORECASE)
_PREFIX = re.compile(r"magnet:(?://)?/?\??", re.IGNORECASE)
_BARE_TOPIC = re.compile(r"\?*(?=xt(?:\.\d+)?=urn:)|(?=urn:bt[im]h:)", re.IGNORECASE)
_ENCODED_LINK = re.compile(r"magnet%3a%3f", re.IGNORECASE)

_TRACKER_SCHEMES = frozenset({"udp", "http", "https", "ws", "wss"})
_TWICE_ENCODED = re.compile(r"[a-z]+%3a%2f", re.IGNORECASE)
# udp:/%http://2Fhost…, and what some client turns that into when it writes the link again: udp:/-tp://2Fhost…
_LINKED_HOST = re.compile(r"(?P<scheme>[a-z]+):/(?:%https?:|-tps?:)//2f(?P<rest>.+)", re.IGNORECASE)
_SHORTENED = re.compile(r"(?P<scheme>[a-z]+):/(?:%https?:|-tps?:)?/{1,2}t\.co/(?P<key>\w+)(?P<rest>.*)", re.IGNORECASE)
_STRAY_SLASH = re.compile(r"(?<=[\w.-])/(?=:\d)")
_ELLIPSIS = re.compile(r"(?:\.{2,}|…)$")
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?|[0-9a-f:.]+", re.IGNORECASE)
_ANNOUNCE = "/announce"


def heal_link(text: str) -> tuple[str, list[str]]:
    """The text as a link that begins with ``magnet:?``, and what had to be mended.

    A text that does not look like a link is returned as it is.
    """
    healed: list[str] = []
    link = _INVISIBLE.sub("", text).strip().strip("<>\"'`").strip()
    link = _WRAPPED.sub("", link)
    if _ENCODED_LINK.match(link):
        link = unquote(link)
        healed.append("the whole link was percent-encoded")
    while _AMPERSAND.search(link):
        link = _AMPERSAND.sub("&", link)
        healed = healed if "the link was HTML-escaped" in healed else [*healed, "the link was HTML-escaped"]
    return _heal_prefix(link, healed)


def heal_tracker(value: str) -> tuple[str, str]:
    """The tracker that a percent-encoded ``tr`` value means, and what was mended. Both are empty if there is none."""
    text = unquote(value).strip()
    mended = unquote(text) if _TWICE_ENCODED.match(text) else text
    linked = _LINKED_HOST.fullmatch(mended)
    if linked:
        mended = f"{linked['scheme']}://{linked['rest']}"
    short = _SHORTENED.fullmatch(mended)
    if short:
        host = SHORT_LINKS.get(short["key"])
        mended = f"{short['scheme']}://{host}{short['rest']}" if host else ""
    mended = _complete_announce(_STRAY_SLASH.sub("", mended))
    if not is_tracker_url(mended):
        return "", f"a tracker was dropped, since its address is damaged: {text[:80]!r}"
    return mended, "" if mended == text else f"a damaged tracker was mended: {mended}"


def is_tracker_url(url: str) -> bool:
    """Whether a client may announce there: ``udp``, ``http(s)`` or ``ws(s)``, a plausible host, a port in range."""
    return _is_url(url, _TRACKER_SCHEMES)


def is_web_url(url: str) -> bool:
    """Whether ``url`` is a plain web address. ``file:`` and ``ftp:`` are not."""
    return _is_url(url, frozenset({"http", "https"}))


def _heal_prefix(link: str, healed: list[str]) -> tuple[str, list[str]]:
    prefix = _PREFIX.match(link)
    if prefix:
        if prefix[0].lower() != "magnet:?":
            healed.append("the beginning of the link was damaged")
        return "magnet:?" + link[prefix.end() :], healed
    bare = _BARE_TOPIC.match(link)
    if bare:
        topic = link[bare.end() :]
        return "magnet:?" + (topic if topic[:2].lower() == "xt" else f"xt={topic}"), [
            *healed,
            "the link lacked magnet:?",
        ]
    return link, healed


def _complete_announce(url: str) -> str:
    """Complete a URL whose end was cut off (``…:1337/annou...``), if its host and port are whole; otherwise return "".

    Without an ellipsis, only beginnings of ``/announce`` longer than ``/ann`` are completed: there is a living tracker
    with the path ``/ann``.
    """
    cut = _ELLIPSIS.sub("", url)
    host, slash, path = cut.rpartition("/")
    whole = bool(slash) and host.count("/") == 2
    if whole and _ANNOUNCE.startswith(f"/{path}") and (cut != url or len(path) > len("ann")):
        return host + _ANNOUNCE
    return url if cut == url else ""


def _is_url(url: str, schemes: frozenset[str]) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    needs_port = parts.scheme == "udp"
    return parts.scheme in schemes and bool(_HOST.fullmatch(host)) and port != 0 and not (needs_port and port is None)
