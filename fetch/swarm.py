"""The swarm, by libtorrent: one session, with the settings that measurements chose.

One of the two modules that know libtorrent; the other is ``magnetar.fetch.metainfo``. Alerts die at the next
``pop_alerts``, so their fields are copied at once and nothing outside this module ever holds one.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import libtorrent

from magnetar.errors import DiskError, NoSpace, OutsideError
from magnetar.events import TrackerAnswered
from magnetar.fetch.magnet import Magnet
from magnetar.fetch.metainfo import bare_torrent, foreign_errors, load, payload_paths
from magnetar.fetch.protocol import FileFailed, Joining, Network, Notice, Phase, PieceFailed, Status, Swarm
from magnetar.files import OUT_OF_SPACE

lt: Any = libtorrent  # its stubs are partly wrong

LONGEST_WAIT = 0.25  # seconds: a signal is handled only after a wait on the session
LISTEN_PATIENCE = 5.0
ASK_EVERY = 1.0
DISK_PATIENCE = 60.0  # seconds

_EVERYWHERE = "0.0.0.0:6881,[::]:6881"
_LOOPBACK = "127.0.0.1:0"
_ALERTS = lt.alert_category.error | lt.alert_category.status | lt.alert_category.storage | lt.alert_category.tracker

_COMMON = {
    "alert_mask": _ALERTS,
    "user_agent": "magnetar",
    # Over loopback and fast lines, outgoing uTP costs a factor of ten and half of the CPU; incoming stays on for
    # peers that can be reached in no other way.
    "enable_outgoing_utp": False,
    # Milliseconds. Peers are connected on a tick, so the default of 500 is what a small release would wait for.
    "tick_interval": 100,
    "aio_threads": 4,
    "hashing_threads": min(4, os.cpu_count() or 1),
    # The defaults try dead trackers one by one.
    "announce_to_all_trackers": True,
    "announce_to_all_tiers": True,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_lsd": False,
    "webtorrent_stun_server": "",
}
_ALONE = {"enable_dht": False, "dht_bootstrap_nodes": "", "enable_ip_notifier": False}
_NEARBY = {**_ALONE, "allow_multiple_connections_per_ip": True}
_OFFLINE = {
    **_ALONE,
    "listen_interfaces": "",
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "enable_incoming_utp": False,
}

_PHASES: dict[int, Phase] = {
    lt.torrent_status.states.downloading_metadata: "metadata",
    lt.torrent_status.states.downloading: "downloading",
    lt.torrent_status.states.finished: "downloading",
    lt.torrent_status.states.seeding: "complete",
}  # every other state is some form of "checking"


@contextmanager
def open_swarm(network: Network) -> Iterator[Swarm]:
    """A session with the world, closed when the block ends. Raises ``OutsideError`` if it cannot listen as asked."""
    swarm = LibtorrentSwarm(network)
    try:
        yield swarm
    finally:
        swarm.close()


class LibtorrentSwarm:
    """A :class:`magnetar.fetch.protocol.Swarm`."""

    def __init__(self, network: Network) -> None:
        self._transfers: dict[Any, LibtorrentTransfer] = {}
        self._listening = ""
        self._not_listening = ""
        self._dht_nodes = 0
        self._asked = 0.0
        with _outside("the network session cannot start"):
            self._session: Any = lt.session(lt.session_params(_settings(network)))
        if not network.offline:
            self._await_port(network)

    @property
    def port(self) -> int:
        return int(self._session.listen_port())

    @property
    def dht_nodes(self) -> int:
        return self._dht_nodes

    def join(self, joining: Joining) -> "LibtorrentTransfer":
        params = _parameters(joining)
        with foreign_errors("the torrent cannot be joined"):
            handle = self._session.add_torrent(params)
        transfer = LibtorrentTransfer(handle, self, joining.magnet)
        self._transfers[handle] = transfer
        return transfer

    def wait(self, seconds: float) -> None:
        if time.monotonic() - self._asked > ASK_EVERY:
            self._session.post_session_stats()
            self._asked = time.monotonic()
        self._session.wait_for_alert(int(min(seconds, LONGEST_WAIT) * 1000))
        for alert in self._session.pop_alerts():
            self._dispatch(alert)

    def reach_further(self) -> None:
        self._session.apply_settings({"enable_outgoing_utp": True})

    def close(self) -> None:
        self._transfers.clear()
        self._session = None  # the binding has no abort(); dropping the session waits for it to end

    def remove(self, handle: Any) -> None:
        self._transfers.pop(handle, None)
        self._session.remove_torrent(handle)

    def _dispatch(self, alert: Any) -> None:
        if isinstance(alert, lt.listen_succeeded_alert):
            self._listening = alert.message()
        elif isinstance(alert, lt.listen_failed_alert):
            self._not_listening = alert.message()
        elif isinstance(alert, lt.session_stats_alert):
            self._dht_nodes = int(alert.values.get("dht.dht_nodes", 0))
        elif isinstance(alert, lt.torrent_alert):
            transfer = self._transfers.get(alert.handle)
            if transfer is not None:
                transfer.take(alert)

    def _await_port(self, network: Network) -> None:
        """A session that cannot listen says so only in an alert, and lives on."""
        deadline = time.monotonic() + LISTEN_PATIENCE
        while not (self._listening or self._not_listening) and time.monotonic() < deadline:
            self.wait(LONGEST_WAIT)
        if self.port == 0 and (network.listen or network.loopback):
            raise OutsideError(
                f"cannot listen on {network.listen or _LOOPBACK}: {self._not_listening or 'no answer'}",
                hint="choose another address or port to listen on",
            )


class LibtorrentTransfer:
    """A :class:`magnetar.fetch.protocol.Transfer`."""

    def __init__(self, handle: Any, swarm: LibtorrentSwarm, magnet: Magnet) -> None:
        self._handle = handle
        self._swarm = swarm
        self._magnet = magnet
        self._notices: list[Notice] = []
        self._resume: bytes | OutsideError | None = None
        self._flushed = False

    def status(self) -> Status:
        with foreign_errors("the torrent is gone"):
            status = self._handle.status(0)
        phase: Phase = _PHASES.get(int(status.state), "checking")
        if phase == "downloading" and status.is_seeding:
            phase = "complete"
        looked_at = status.total * status.progress_ppm // 1_000_000
        return Status(
            phase=phase,
            done=looked_at if phase == "checking" else status.total_wanted_done,
            total=status.total_wanted,
            downloaded=status.total_payload_download,
            uploaded=status.total_payload_upload,
            peers=status.num_peers,
            seeds=status.num_seeds,
        )

    def notices(self) -> Sequence[Notice]:
        notices, self._notices = self._notices, []
        return notices

    def torrent(self) -> bytes:
        info = self._handle.torrent_file()
        if info is None:
            return b""
        return bare_torrent(info.info_section(), self._magnet.trackers)

    def pieces(self) -> Sequence[bool]:
        return list(self._handle.status(lt.torrent_handle.query_pieces).pieces)

    def peers(self) -> Sequence[tuple[str, int]]:
        return [(host, port) for host, port in (peer.ip for peer in self._handle.get_peer_info())]

    def resume_data(self) -> bytes:
        # The flag flush_disk_cache of save_resume_data does not wait for the writes; flush_cache does.
        self._flushed, self._resume = False, None
        self._handle.flush_cache()
        self._wait_until(lambda: self._flushed)
        self._handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)
        self._wait_until(lambda: self._resume is not None)
        answer: bytes | OutsideError | None = self._resume
        if isinstance(answer, bytes):
            return answer
        raise answer or OutsideError("the session did not account for the download")

    def pause(self) -> None:
        self._handle.pause()

    def leave(self) -> None:
        self._swarm.remove(self._handle)

    def take(self, alert: Any) -> None:
        """Copy what matters from an alert, which dies soon."""
        match alert:
            case lt.tracker_reply_alert():
                self._notices.append(TrackerAnswered(alert.tracker_url(), alert.num_peers))
            case lt.tracker_error_alert():
                reason = alert.failure_reason() or alert.error.message()
                self._notices.append(TrackerAnswered(alert.tracker_url(), 0, reason))
            case lt.file_error_alert():
                self._notices.append(FileFailed(_disk_error(alert.filename(), alert.error)))
            case lt.hash_failed_alert():
                self._notices.append(PieceFailed(int(alert.piece_index)))
            case lt.cache_flushed_alert():
                self._flushed = True
            case lt.save_resume_data_alert():
                self._resume = bytes(lt.write_resume_data_buf(alert.params))
            case lt.save_resume_data_failed_alert():
                self._resume = OutsideError(f"the state of the download cannot be had: {alert.error.message()}")

    def _wait_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DISK_PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise DiskError(f"the disk did not take what was received within {DISK_PATIENCE:.0f} s")
            self._swarm.wait(LONGEST_WAIT)


def _settings(network: Network) -> dict[str, Any]:
    if network.offline:
        return {**_COMMON, **_OFFLINE}
    listen: dict[str, Any] = {"listen_interfaces": network.listen or (_LOOPBACK if network.loopback else _EVERYWHERE)}
    if network.listen:  # as asked, or not at all
        listen |= {"listen_system_port_fallback": False, "max_retry_port_bind": 0}
    if network.loopback:
        return {**_COMMON, **_NEARBY, **listen}
    return {**_COMMON, **({} if network.dht else _ALONE), **listen}


def _parameters(joining: Joining) -> Any:
    if joining.torrent:
        params = _resumed(joining) or load(joining.torrent)
        # Where each file lies is decided here and nowhere else: whatever resume data says is overwritten.
        params.renamed_files = payload_paths(params.ti)
    else:
        params = lt.add_torrent_params()
        params.info_hashes = _info_hashes(joining.magnet)
    params.save_path = str(joining.folder.resolve())
    params.trackers = list(joining.magnet.trackers)
    params.tracker_tiers = []
    params.url_seeds = list(joining.magnet.web_seeds)
    params.peers = list(joining.magnet.peers)
    params.flags = _flags(joining)
    params.download_limit = joining.download_limit or -1
    params.upload_limit = joining.upload_limit or -1
    return params


def _flags(joining: Joining) -> int:
    flags = int(lt.torrent_flags.duplicate_is_error)
    if joining.check_only:
        flags |= int(lt.torrent_flags.upload_mode)
    if not joining.torrent:
        # The metadata is wanted, the payload not yet: nothing may be written before it was looked at.
        flags |= int(lt.torrent_flags.upload_mode | lt.torrent_flags.default_dont_download)
    return flags


def _resumed(joining: Joining) -> Any:
    """The parameters that resume data holds; None if there is none, or it is damaged or of another torrent."""
    if not joining.resume:
        return None
    wanted = load(joining.torrent).ti
    try:
        params = lt.read_resume_data(joining.resume)
    except (RuntimeError, UnicodeError):
        return None
    if params.info_hashes != wanted.info_hashes():
        return None
    params.ti = params.ti or wanted
    if joining.trusted:
        # Read back, the list is padded to a multiple of eight, and libtorrent then skips its own check of sizes.
        params.have_pieces = params.have_pieces[: wanted.num_pieces()]
        params.verified_pieces = params.verified_pieces[: wanted.num_pieces()]
    else:
        params.have_pieces, params.verified_pieces, params.unfinished_pieces = [], [], {}
    params.file_priorities, params.piece_priorities = [], []
    return params


def _info_hashes(magnet: Magnet) -> Any:
    hashes = []
    if magnet.infohash_v1:
        hashes.append(lt.sha1_hash(bytes.fromhex(magnet.infohash_v1)))
    if magnet.infohash_v2:
        hashes.append(lt.sha256_hash(bytes.fromhex(magnet.infohash_v2)))
    return lt.info_hash_t(*hashes)


def _disk_error(path: str, error: Any) -> OutsideError:
    code, reason = error.value(), error.message()
    system = error.category().name() in ("system", "generic")
    if system and code in OUT_OF_SPACE:
        return NoSpace(f"{path}: cannot be written: {reason}", hint="make space, then run the same command again")
    hint = "check the disk and who may write there, then run the same command again"
    if system and code == errno.ENOENT:
        hint = "another program removed it while it was in use"
    return DiskError(f"{path}: {reason}", hint=hint)


@contextmanager
def _outside(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as foreign:
        raise OutsideError(f"{what}: {foreign}") from foreign
