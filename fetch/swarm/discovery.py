"""Finding a torrent's metadata in a swarm, and saying why it was not found."""

import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from magnetar.errors import MetadataTimeout
from magnetar.events import Began, Emit, Ended, Step
from magnetar.fetch.link.magnet import Magnet, join_peers, join_trackers
from magnetar.fetch.request.options import SwarmOptions
from magnetar.fetch.swarm.protocol import Joining, Swarm
from magnetar.fetch.swarm.sightings import Sightings
from magnetar.fetch.torrent.known_torrent import KnownTorrent

REACH_FURTHER_AFTER = 15.0
"""Seconds without metadata after which slower ways to peers are tried too."""


def find_metadata(
    swarm: Swarm, magnet: Magnet, parent: Path, options: SwarmOptions, emit: Emit
) -> tuple[bytes, Magnet]:
    """The torrent that the link names, as ``.torrent`` bytes, and the link with the peers that were met on the way.

    Nothing is written to ``parent``. Raises ``MetadataTimeout``, with what was seen of the swarm, if the metadata does
    not arrive within ``options.metadata_timeout`` seconds.
    """
    emit(Began(Step.METADATA, None))
    transfer = swarm.join(Joining(parent, reachable(magnet, options)))
    sightings = Sightings(swarm, transfer, emit)
    began = time.monotonic()
    try:
        for _status in sightings.follow(lambda _status: bool(transfer.torrent())):
            waited = time.monotonic() - began
            if waited > options.metadata_timeout:
                raise _timeout(magnet, waited, sightings, options)
            if waited > REACH_FURTHER_AFTER:
                swarm.reach_further()
        return transfer.torrent(), join_peers(magnet, transfer.peers())
    finally:
        transfer.leave()
        emit(Ended(Step.METADATA))


def reachable(magnet: Magnet, options: SwarmOptions, *, private: bool = False) -> Magnet:
    """The link with the trackers and peers that the options add; with ``loopback``, only what is on this machine.

    Fallback trackers are never asked about a private torrent (BEP 27).
    """
    public = options.fallback_trackers and not (private or options.loopback)
    fallback = fallback_trackers() if public else ()
    joined = join_peers(join_trackers(magnet, (*options.trackers, *fallback)), options.peers)
    if not options.loopback:
        return joined
    return replace(
        joined,
        trackers=tuple(url for url in joined.trackers if _is_on_loopback(urlsplit(url).hostname or "")),
        web_seeds=tuple(url for url in joined.web_seeds if _is_on_loopback(urlsplit(url).hostname or "")),
        peers=tuple(peer for peer in joined.peers if _is_on_loopback(peer[0])),
    )


def payload_joining(folder: Path, torrent: KnownTorrent, options: SwarmOptions, resume: bytes) -> Joining:
    """How to join the swarm of a torrent to exchange its payload, which lies in ``folder``.

    ``resume`` is what a session knew of it before; what it claims about pieces is not trusted.
    """
    return Joining(
        folder,
        reachable(torrent.magnet, options, private=torrent.metadata.private),
        torrent.content,
        resume,
        download_limit=options.download_limit,
        upload_limit=options.upload_limit,
    )


def fallback_trackers() -> tuple[str, ...]:
    """Well-known public trackers, asked besides a link's own: those in old links are often long dead."""
    lines = files("magnetar.fetch").joinpath("trackers.txt").read_text("utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _is_on_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _timeout(magnet: Magnet, waited: float, sightings: Sightings, options: SwarmOptions) -> MetadataTimeout:
    name = magnet.name or magnet.infohash
    more = "" if options.dht or options.loopback else " Let the DHT help (without --no-dht)."
    return MetadataTimeout(
        f"{name}: no peer sent the metadata within {waited:.0f} s. Seen: {sightings.summary()}",
        hint=f"nobody may be seeding it now: try later, name a peer with --peer, or use a .torrent file.{more}",
        infohash=magnet.infohash,
        waited=waited,
        peers=sightings.most_peers,
    )
