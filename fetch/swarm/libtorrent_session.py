"""The swarm, by libtorrent: one session, with the settings that measurements chose.

Only the modules ``libtorrent_…`` of this room and ``magnetar.fetch.torrent.metainfo`` know libtorrent.
An alert must not be used after the next ``pop_alerts``, so its fields are copied at once, and nothing outside this
module ever holds one.
"""

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libtorrent

from magnetar.errors import DiskError, NoSpace, OutsideError
from magnetar.events import TrackerAnswered
from magnetar.fetch.request.options import Network
from magnetar.fetch.swarm.libtorrent_intake import LibtorrentIntake
from magnetar.fetch.swarm.libtorrent_parameters import add_torrent_params
from magnetar.fetch.swarm.libtorrent_settings import listening_place, must_listen, settings_of
from magnetar.fetch.swarm.protocol import FileFailed, Joining, Notice, Phase, PieceFailed, Status, Swarm
from magnetar.fetch.torrent.metainfo import bare_torrent, damaged_paths, foreign_errors, payload_paths
from magnetar.files import OUT_OF_SPACE

lt: Any = libtorrent  # its stubs are partly wrong

MAX_WAIT = 0.25
"""Seconds of one wait on the session: a signal is handled only after it."""
LISTEN_TIMEOUT = 5.0
"""Seconds until a session must have said whether it listens."""
DISK_TIMEOUT = 60.0
"""Seconds until the disk must have taken what was received."""
ASK_EVERY = 1.0
"""Seconds between two questions for the number of DHT nodes."""

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
        params = add_torrent_params(joining, self._network)
        with foreign_errors("the torrent cannot be joined"):
            handle = self._session.add_torrent(params)
        transfer = LibtorrentTransfer(handle, self, joining)
        self._transfers[handle] = transfer
        return transfer

    def wait(self, seconds: float) -> None:
        if time.monotonic() - self._asked > ASK_EVERY:
            self._session.post_session_stats()
            self._asked = time.monotonic()
        self._session.wait_for_alert(int(min(seconds, MAX_WAIT) * 1000))
        for alert in self._session.pop_alerts():
            self._dispatch(alert)

    def wait_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Handle what happens until ``done``, for ``seconds`` at most. Returns whether it is done."""
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.wait(MAX_WAIT)
        return done()

    def reach_further(self, wanted: bool = True) -> None:
        if wanted != self._reaches_further:
            self._reaches_further = wanted
            self._session.apply_settings({"enable_outgoing_utp": wanted or self._network.utp})

    def keep_peers(self) -> None:
        self._session.apply_settings({"close_redundant_connections": False})

    def close(self) -> None:
        self._transfers.clear()
        self._session = None  # the binding has no abort(); when the session is dropped, its end is waited for

    def remove(self, handle: Any) -> None:
        self._transfers.pop(handle, None)
        self._session.remove_torrent(handle)

    def _serve_nobody_nearby(self) -> None:
        """Hold peers on this machine and its network to the limits too; by default they are served beyond them."""
        nearby = lt.session.local_peer_class_id
        self._session.set_peer_class(nearby, {**self._session.get_peer_class(nearby), "ignore_unchoke_slots": False})

    def _dispatch(self, alert: Any) -> None:
        """Note what an alert says of the session, or hand it to its transfer."""
        if isinstance(alert, lt.listen_succeeded_alert):
            self._listening = alert.message()
        elif isinstance(alert, lt.listen_failed_alert):
            self._not_listening = alert.message()
        elif isinstance(alert, lt.session_stats_alert):
            self._dht_nodes = int(alert.values.get("dht.dht_nodes", 0))
        elif isinstance(alert, lt.torrent_alert):
            transfer = self._transfers.get(alert.handle)
            if transfer is not None:
                transfer.handle_alert(alert)

    def _await_port(self, network: Network) -> None:
        """Raise ``OutsideError`` unless the session listens: that it cannot, it says only in an alert."""
        self.wait_until(lambda: bool(self._listening or self._not_listening), LISTEN_TIMEOUT)
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
        self._folder = joining.folder
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
        """Whether every piece of every wanted file is there.

        libtorrent may call a selection finished before its last piece was checked, so the pieces are looked at.
        """
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
        self._await_disk(lambda: self._flushed)
        self._handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)
        self._await_disk(lambda: self._resume is not None)
        answer: bytes | OutsideError | None = self._resume
        if isinstance(answer, bytes):
            return answer
        raise answer or OutsideError("the session gave no account of the download")

    def pause(self) -> None:
        self._handle.pause()

    def leave(self) -> None:
        self._swarm.remove(self._handle)

    def handle_alert(self, alert: Any) -> None:
        """Copy what matters from an alert, which is valid only now."""
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

    def _await_disk(self, done: Callable[[], bool]) -> None:
        if not self._swarm.wait_until(done, DISK_TIMEOUT):
            raise DiskError(f"the disk did not take what was received within {DISK_TIMEOUT:.0f} s", path=self._folder)


def _disk_error(path: str, error: Any) -> NoSpace | DiskError:
    code, reason = error.value(), error.message()
    system = error.category().name() in ("system", "generic")
    if system and code in OUT_OF_SPACE:
        hint = "make space, then run the same command again"
        return NoSpace(f"{path}: cannot be written: {reason}", hint=hint, path=Path(path))
    hint = "check the disk and who may write there, then run the same command again"
    if system and code == errno.ENOENT:
        hint = "another program removed it while it was in use"
    return DiskError(f"{path}: {reason}", hint=hint, path=Path(path))


@contextmanager
def _outside(what: str) -> Iterator[None]:
    """Wrap what libtorrent raises."""
    try:
        yield
    except RuntimeError as foreign:
        raise OutsideError(f"{what}: {foreign}") from foreign
