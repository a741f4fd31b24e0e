"""Finding a torrent's metadata in a swarm, and saying why it was not found."""

import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from magnetar.errors import MetadataTimeout, OutsideError
from magnetar.events import Began, Emit, Ended, Step, SwarmSeen, TrackerAnswered
from magnetar.fetch.link.magnet import Magnet, join_peers, join_trackers
from magnetar.fetch.request.options import SwarmOptions
from magnetar.fetch.swarm.protocol import FileFailed, Joining, Notice, PieceFailed, Status, Swarm, Transfer

REACH_FURTHER_AFTER = 15.0  # seconds without metadata or payload, then slower ways to peers are tried too
LOOK_EVERY = 0.25
TELL_AGAIN = 5.0  # seconds after which who is there is told though nothing changed: waiting is news too


class Sightings:
    """What was seen of a swarm: told as it happens, and summed up when nothing came of it."""

    def __init__(self, swarm: Swarm, emit: Emit) -> None:
        self._swarm = swarm
        self._emit = emit
        self._trackers: dict[str, TrackerAnswered] = {}
        self.most_peers = 0
        self.most_seeds = 0
        self._last: SwarmSeen | None = None
        self._told = 0.0

    def look(self, transfer: Transfer) -> Status:
        """Tell what is new. Raises what the disk refused; thrown-away pieces are libtorrent's to ask for again."""
        for notice in transfer.notices():
            self._take(notice)
        status = transfer.status()
        self.most_peers = max(self.most_peers, status.peers)
        self.most_seeds = max(self.most_seeds, status.seeds)
        nodes = self._swarm.dht_nodes
        seen = SwarmSeen(status.peers, status.seeds, nodes, status.uploaded, status.downloaded, status.mirrored)
        now = time.monotonic()
        if seen != self._last or now - self._told > TELL_AGAIN:
            self._emit(seen)
            self._last, self._told = seen, now
        return status

    def summary(self) -> str:
        """Peers, DHT nodes, and what each tracker answered, in one paragraph."""
        answers = [
            f"{url}: {answer.error}" if answer.error else f"{url}: {answer.peers} peers"
            for url, answer in self._trackers.items()
        ]
        trackers = "; ".join(answers) or "no tracker answered"
        return f"{self.most_peers} peers at most, {self._swarm.dht_nodes} DHT nodes; {trackers}"

    def _take(self, notice: Notice) -> None:
        match notice:
            case TrackerAnswered():
                self._trackers[notice.url] = notice
                self._emit(notice)
            case FileFailed():
                raise notice.error
            case PieceFailed():
                pass


def find_metadata(
    swarm: Swarm, magnet: Magnet, parent: Path, options: SwarmOptions, emit: Emit
) -> tuple[bytes, Magnet]:
    """The torrent that the link names, as ``.torrent`` bytes, and the link with the peers that were met on the way.

    Nothing is written. Raises ``MetadataTimeout`` with what was seen if none arrives in ``options.metadata_timeout``.
    """
    emit(Began(Step.METADATA, None))
    transfer = swarm.join(Joining(parent, reachable(magnet, options)))
    sightings = Sightings(swarm, emit)
    began = time.monotonic()
    try:
        while not (torrent := transfer.torrent()):
            sightings.look(transfer)
            waited = time.monotonic() - began
            if waited > options.metadata_timeout:
                raise _timeout(magnet, waited, sightings, options)
            if waited > REACH_FURTHER_AFTER:
                swarm.reach_further()
            swarm.wait(LOOK_EVERY)
        met = transfer.peers()
    finally:
        transfer.leave()
        emit(Ended(Step.METADATA))
    return torrent, join_peers(magnet, met)


def reachable(magnet: Magnet, options: SwarmOptions, *, private: bool = False) -> Magnet:
    """The link with all that the options add, and with ``loopback``, without all that is not on this machine.

    Fallback trackers are never asked about a private torrent (BEP 27).
    """
    public = options.fallback_trackers and not (private or options.loopback)
    fallback = fallback_trackers() if public else ()
    joined = join_peers(join_trackers(magnet, (*options.trackers, *fallback)), options.peers)
    if not options.loopback:
        return joined
    return replace(
        joined,
        trackers=tuple(url for url in joined.trackers if _is_nearby(urlsplit(url).hostname or "")),
        web_seeds=tuple(url for url in joined.web_seeds if _is_nearby(urlsplit(url).hostname or "")),
        peers=tuple(peer for peer in joined.peers if _is_nearby(peer[0])),
    )


def fallback_trackers() -> tuple[str, ...]:
    """Well-known public trackers, asked besides a link's own: those in old links are often long dead."""
    lines = files("magnetar.fetch").joinpath("trackers.txt").read_text("utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _is_nearby(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _timeout(magnet: Magnet, waited: float, sightings: Sightings, options: SwarmOptions) -> OutsideError:
    name = magnet.name or magnet.infohash
    more = "" if options.dht or options.loopback else " Let the DHT help (without --no-dht)."
    return MetadataTimeout(
        f"{name}: no peer sent the metadata within {waited:.0f} s. Seen: {sightings.summary()}",
        hint=f"nobody may be seeding it now: try later, name a peer with --peer, or use a .torrent file.{more}",
    )
