"""The swarm, by libtorrent: one session, with the settings that measurements chose.

One of the two modules that know libtorrent; the other is ``magnetar.fetch.torrent.metainfo``. Alerts die at the next
``pop_alerts``, so their fields are copied at once and nothing outside this module ever holds one.
"""

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import libtorrent

from magnetar.errors import DiskError, NoSpace, OutsideError
from magnetar.events import TrackerAnswered
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import Network
from magnetar.fetch.swarm.libtorrent_intake import LibtorrentIntake
from magnetar.fetch.swarm.libtorrent_settings import listening_place, must_listen, settings_of
from magnetar.fetch.swarm.protocol import FileFailed, Joining, Notice, Phase, PieceFailed, Status, Swarm
from magnetar.fetch.torrent.metainfo import (
    bare_torrent,
    damaged_paths,
    file_priorities,
    foreign_errors,
    load,
    payload_paths,
)
from magnetar.files import OUT_OF_SPACE, STATE_FOLDER

lt: Any = libtorrent  # its stubs are partly wrong

LONGEST_WAIT = 0.25  # seconds: a signal is handled only after a wait on the session
LISTEN_PATIENCE = 5.0
ASK_EVERY = 1.0
DISK_PATIENCE = 60.0  # seconds

_ALERTS = lt.alert_category.error | lt.alert_category.status | lt.alert_category.storage | lt.alert_category.tracker

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
    """A :class:`magnetar.fetch.swarm.protocol.Swarm`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._transfers: dict[Any, LibtorrentTransfer] = {}
        self._listening = ""
        self._not_listening = ""
        self._dht_nodes = 0
        self._reaches_further = False
        self._asked = 0.0
        with _outside("the network session cannot start"):
            self._session: Any = lt.session({"alert_mask": _ALERTS, **settings_of(network)})
        if not network.upload:
            self._serve_nobody_nearby()
        if not network.offline:
            self._await_port(network)

    @property
    def port(self) -> int:
        return int(self._session.listen_port())

    @property
    def dht_nodes(self) -> int:
        return self._dht_nodes

    def join(self, joining: Joining) -> "LibtorrentTransfer":
        params = _parameters(joining, self._network)
        with foreign_errors("the torrent cannot be joined"):
            handle = self._session.add_torrent(params)
        transfer = LibtorrentTransfer(handle, self, joining)
        self._transfers[handle] = transfer
        return transfer

    def wait(self, seconds: float) -> None:
        if time.monotonic() - self._asked > ASK_EVERY:
            self._session.post_session_stats()
            self._asked = time.monotonic()
        self._session.wait_for_alert(int(min(seconds, LONGEST_WAIT) * 1000))
        for alert in self._session.pop_alerts():
            self._dispatch(alert)

    def reach_further(self, wanted: bool = True) -> None:
        if wanted != self._reaches_further:
            self._reaches_further = wanted
            self._session.apply_settings({"enable_outgoing_utp": wanted or self._network.utp})

    def keep_peers(self) -> None:
        """Stay connected to peers that have nothing for us just now."""
        self._session.apply_settings({"close_redundant_connections": False})

    def close(self) -> None:
        self._transfers.clear()
        self._session = None  # the binding has no abort(); dropping the session waits for it to end

    def remove(self, handle: Any) -> None:
        self._transfers.pop(handle, None)
        self._session.remove_torrent(handle)

    def _serve_nobody_nearby(self) -> None:
        """Peers on this machine and its network are served beyond all limits, unless told otherwise."""
        nearby = lt.session.local_peer_class_id
        self._session.set_peer_class(nearby, {**self._session.get_peer_class(nearby), "ignore_unchoke_slots": False})

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
        if self.port == 0 and must_listen(network):
            raise OutsideError(
                f"cannot listen on {listening_place(network)}: {self._not_listening or 'no answer'}",
                hint="choose another address or port to listen on",
            )


class LibtorrentTransfer:
    """A :class:`magnetar.fetch.swarm.protocol.Transfer`."""

    def __init__(self, handle: Any, swarm: LibtorrentSwarm, joining: Joining) -> None:
        self._handle = handle
        self._swarm = swarm
        self._magnet = joining.magnet
        self._unwanted = joining.unwanted
        self._notices: list[Notice] = []
        self._resume: bytes | OutsideError | None = None
        self._flushed = False
        self.intake = LibtorrentIntake(handle, swarm.keep_peers)

    def status(self) -> Status:
        with foreign_errors("the torrent is gone"):
            status = self._handle.status(0)
        phase: Phase = _PHASES.get(int(status.state), "checking")
        if phase == "downloading" and (status.is_seeding or self._has_all_wanted(status)):
            phase = "complete"
        looked_at = status.total * status.progress_ppm // 1_000_000
        return Status(
            phase=phase,
            done=looked_at if phase == "checking" else status.total_wanted_done,
            total=self.intake.total(status.total_wanted),
            downloaded=status.total_payload_download + self.intake.received,
            uploaded=status.total_payload_upload,
            peers=status.num_peers,
            seeds=status.num_seeds,
            mirrored=self.intake.received,
        )

    def _has_all_wanted(self, status: Any) -> bool:
        """libtorrent may call a selection finished before its last piece was checked, so the pieces are asked."""
        if not (self._unwanted and status.is_finished):
            return False
        lacking = damaged_paths(self._handle.torrent_file(), self.pieces())
        return self._unwanted.issuperset(lacking)

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

    def files(self) -> Mapping[str, int]:
        info = self._handle.torrent_file()
        done = self._handle.file_progress(lt.torrent_handle.piece_granularity)
        return {path: done[index] for index, path in payload_paths(info).items()} if info else {}

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
                self.intake.refuse(int(alert.piece_index))
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


def _parameters(joining: Joining, network: Network) -> Any:
    if joining.torrent:
        params = _resumed(joining) or load(joining.torrent)
        # Where each file lies is decided here and nowhere else: whatever resume data says is overwritten.
        params.renamed_files = payload_paths(params.ti)
        if joining.unwanted:
            params.file_priorities = file_priorities(params.ti, joining.unwanted)
        if joining.only is not None:
            # Before it is added: a web seed is asked for megabytes at once, and would send what is not wanted.
            pieces = range(params.ti.num_pieces())
            params.piece_priorities = [4 if piece in joining.only else 0 for piece in pieces]
    else:
        params = lt.add_torrent_params()
        params.info_hashes = _info_hashes(joining.magnet)
    params.save_path = str(joining.folder.resolve())
    params.part_file_dir = STATE_FOLDER  # below save_path, whatever one writes here
    params.trackers = list(joining.magnet.trackers)
    params.tracker_tiers = []
    # Of version 2 alone, it would throw away what they send: see mirrors_of_web_seeds.
    params.url_seeds = list(joining.magnet.web_seeds) if joining.magnet.infohash_v1 else []
    params.peers = list(joining.magnet.peers)
    params.flags = _flags(joining, network)
    params.download_limit = joining.download_limit or -1
    params.upload_limit = joining.upload_limit or -1
    return params


def _flags(joining: Joining, network: Network) -> int:
    flags = int(lt.torrent_flags.duplicate_is_error)
    if not network.peer_exchange:
        flags |= int(lt.torrent_flags.disable_pex)
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
