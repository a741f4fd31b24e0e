"""Magnet links as they are in the wild: parsed, healed, and written clean (BEP 9, BEP 52, BEP 53).

Pure: nothing here touches the network or libtorrent. Healing mends what surrounds the infohash and says what it mended.
The infohash (``xt``) itself is never changed, because a changed hash would name another torrent.
"""

import base64
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, unquote_to_bytes

from magnetar.errors import MagnetError
from magnetar.fetch.link.healing import heal_link, heal_tracker, is_web_url

MAX_LINK_LENGTH = 64 * 1024
"""Characters. The longest links in circulation carry some dozens of trackers: about 4 KiB."""

MAX_TRACKERS = 100
"""Trackers of one link or torrent that are asked; also web seeds."""
MAX_PEERS = 100
"""Peers of one link that are asked."""
MAX_NAME_LENGTH = 255
"""Characters of a link's name that are shown."""

_PARAMETER = re.compile(r"(xt|dn|tr|ws|x\.pe|so)(?:\.\d+)?")
_HEX_V1 = re.compile(r"[0-9a-fA-F]{40}")
_BASE32_V1 = re.compile(r"[A-Za-z2-7]{32}")
_HEX_V2 = re.compile(r"[0-9a-fA-F]{64}")
_MULTIHASH_SHA256 = "1220"  # BEP 52: the code of SHA-256, then its length in bytes
_HINT = "copy the link again from where it was published: it must hold xt=urn:btih: and 40 hexadecimal digits"


@dataclass(frozen=True, slots=True)
class Magnet:
    """The name of a torrent, and where to ask for it.

    ``infohash_v1`` is "" or 40 lower-case hex digits, ``infohash_v2`` is "" or 64; at least one is not empty. ``peers``
    are literal addresses with ports. ``healed`` says in words what had to be mended; it is ignored when two links are
    compared.
    """

    infohash_v1: str
    infohash_v2: str = ""
    name: str = ""
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    peers: tuple[tuple[str, int], ...] = ()
    healed: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not (self.infohash_v1 or self.infohash_v2):
            raise MagnetError("a magnet link without an infohash names no torrent", hint=_HINT)

    @property
    def infohash(self) -> str:
        """The hash to show and to look up: that of version 1 if there is one, since more tools know it."""
        return self.infohash_v1 or self.infohash_v2

    def __str__(self) -> str:
        """The clean link; ``parse_magnet`` reads it back as an equal value."""
        parts = [f"xt=urn:btih:{self.infohash_v1}"] if self.infohash_v1 else []
        parts += [f"xt=urn:btmh:{_MULTIHASH_SHA256}{self.infohash_v2}"] if self.infohash_v2 else []
        parts += [f"dn={quote(self.name, safe='')}"] if self.name else []
        parts += [f"tr={quote(url, safe='')}" for url in self.trackers]
        parts += [f"ws={quote(url, safe='')}" for url in self.web_seeds]
        parts += [f"x.pe={format_peer(peer)}" for peer in self.peers]
        return "magnet:?" + "&".join(parts)


def parse_magnet(text: str) -> Magnet:
    """The torrent that ``text`` names: a magnet link, healed if need be, or a bare infohash.

    Raises ``MagnetError`` if there is no infohash, a malformed one, or two different ones of the same version.
    """
    if len(text) > MAX_LINK_LENGTH:
        raise MagnetError(f"the magnet link is {len(text)} characters long, more than {MAX_LINK_LENGTH}", hint=_HINT)
    bare = _parse_bare(text.strip())
    if bare is not None:
        return bare
    link, healed = heal_link(text)
    values = _parameters(link)
    v1, v2 = _infohashes(values["xt"])
    trackers, tracker_notes = _heal_trackers(values["tr"])
    name, name_notes = _heal_name(values["dn"])
    web_seeds, web_notes = _web_seeds(values["ws"])
    peers, peer_notes = _peers(values["x.pe"])
    healed = [*healed, *name_notes, *tracker_notes, *web_notes, *peer_notes]
    if values["so"]:
        healed.append("the selection of files (so=) was ignored: the whole release is taken")
    return Magnet(v1, v2, name, trackers, web_seeds, peers, tuple(healed))


def looks_like_magnet(text: str) -> bool:
    """Whether ``text`` is meant as a link or an infohash, rather than a name or a path. It may be malformed."""
    begun = text.lstrip().lower()
    return "urn:bt" in begun or "urn%3abt" in begun or begun.startswith("magnet") or _is_bare(text.strip())


def join_trackers(magnet: Magnet, more: Iterable[str]) -> Magnet:
    """The same link with more trackers to ask, each once."""
    return replace(magnet, trackers=tuple(dict.fromkeys([*magnet.trackers, *more])))


def join_peers(magnet: Magnet, more: Iterable[tuple[str, int]]) -> Magnet:
    """The same link with more peers to ask, each once."""
    return replace(magnet, peers=tuple(dict.fromkeys([*magnet.peers, *more])))


def parse_peer(text: str) -> tuple[str, int]:
    """The peer that ``1.2.3.4:6881`` or ``[2001:db8::1]:6881`` names. Raises ``MagnetError``."""
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        separator = ""
    # int() would also take signs, spaces and underscores.
    if not separator or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        raise MagnetError(f"{text[:80]!r} is not a peer", hint="give an address and a port: 192.0.2.7:6881")
    if bracketed != (address.version == 6):
        raise MagnetError(f"{text[:80]!r} is not a peer", hint="an IPv6 address stands in brackets: [2001:db8::1]:6881")
    return str(address), int(port)


def format_peer(peer: tuple[str, int]) -> str:
    """``host:port``, with an IPv6 host in brackets."""
    host, port = peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_bare(text: str) -> bool:
    digest = text[4:] if len(text) == 68 and text.startswith(_MULTIHASH_SHA256) else text
    return any(form.fullmatch(digest) for form in (_HEX_V1, _BASE32_V1, _HEX_V2))


def _parse_bare(text: str) -> Magnet | None:
    if _HEX_V1.fullmatch(text) or _BASE32_V1.fullmatch(text):
        return Magnet(_parse_v1(text))
    if text.startswith(_MULTIHASH_SHA256) and _HEX_V2.fullmatch(text[4:]):
        return Magnet("", text[4:].lower())
    return Magnet("", text.lower()) if _HEX_V2.fullmatch(text) else None


def _parameters(link: str) -> dict[str, list[str]]:
    """The values of a link by the name of their parameter, still percent-encoded. Unknown names are left out."""
    values: dict[str, list[str]] = {name: [] for name in ("xt", "dn", "tr", "ws", "x.pe", "so")}
    for part in link.partition("?")[2].split("&"):
        key, _, value = part.partition("=")
        known = _PARAMETER.fullmatch(key.lower())
        if known:
            values[known[1]].append(value)
    return values


def _infohashes(topics: Iterable[str]) -> tuple[str, str]:
    """The version 1 and version 2 hashes in all ``xt`` values. Other topics (ed2k, tree:tiger) are ignored."""
    found: dict[str, set[str]] = {"btih": set(), "btmh": set()}
    for topic in topics:
        scheme, _, rest = unquote(topic).partition(":")
        kind, _, digest = rest.partition(":")
        if scheme.lower() == "urn" and kind.lower() in found:
            parse = _parse_v1 if kind.lower() == "btih" else _parse_v2
            found[kind.lower()].add(parse(digest))
    for hashes in found.values():
        if len(hashes) > 1:
            raise MagnetError(f"the link names two torrents: {' and '.join(sorted(hashes))}", hint=_HINT)
    if not (found["btih"] or found["btmh"]):
        raise MagnetError("this is not a magnet link: it has no infohash", hint=_HINT)
    return "".join(found["btih"]), "".join(found["btmh"])


def _parse_v1(digest: str) -> str:
    if _HEX_V1.fullmatch(digest):
        return digest.lower()
    if _BASE32_V1.fullmatch(digest):
        return base64.b32decode(digest.upper()).hex()
    raise MagnetError(f"{digest[:80]!r} is not an infohash: it must be 40 hex or 32 base32 digits", hint=_HINT)


def _parse_v2(digest: str) -> str:
    if digest.startswith(_MULTIHASH_SHA256) and _HEX_V2.fullmatch(digest[4:]):
        return digest[4:].lower()
    raise MagnetError(f"{digest[:80]!r} is not a version 2 infohash: it must be 1220 and 64 hex digits", hint=_HINT)


def _heal_name(values: list[str]) -> tuple[str, list[str]]:
    """The first name. It is only shown: the folder gets the name that the torrent has."""
    raw = unquote_to_bytes(values[0].replace("+", " ")) if values else b""
    decoded = raw.decode("utf-8", "replace")
    name = "".join(character for character in decoded if character.isprintable())[:MAX_NAME_LENGTH].strip()
    plain = name == decoded.strip() and raw == decoded.encode()
    return name, [] if plain else [f"the name was not plain text: taken as {name!r}"]


def _heal_trackers(values: list[str]) -> tuple[tuple[str, ...], list[str]]:
    trackers: dict[str, None] = {}
    notes: list[str] = []
    for value in values:
        url, note = heal_tracker(value)
        notes += [note] if note else []
        if url:
            trackers[url] = None
    if len(trackers) > MAX_TRACKERS:
        notes.append(f"only the first {MAX_TRACKERS} of {len(trackers)} trackers are asked")
    return tuple(trackers)[:MAX_TRACKERS], notes


def _web_seeds(values: list[str]) -> tuple[tuple[str, ...], list[str]]:
    urls = dict.fromkeys(unquote(value).strip() for value in values)
    good = tuple(url for url in urls if is_web_url(url))
    return good[:MAX_TRACKERS], [f"a web seed was dropped: {url[:80]!r}" for url in urls if url not in good]


def _peers(values: list[str]) -> tuple[tuple[tuple[str, int], ...], list[str]]:
    peers: dict[tuple[str, int], None] = {}
    notes = []
    for value in values:
        try:
            peers[parse_peer(unquote(value))] = None
        except MagnetError as error:
            notes.append(f"a peer was dropped: {error.message}")
    return tuple(peers)[:MAX_PEERS], notes
