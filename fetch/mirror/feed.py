"""Feeding a torrent from mirrors, side by side with its swarm.

A few threads read runs of pieces. A run is first kept from the peers, so that nothing is fetched twice; then each
piece is put into the torrent, which hashes it and writes it like one from a peer. A mirror whose bytes fail their hash
is dropped. The pieces that fewest peers have are read first.

To be imported where there are mirrors: it brings the HTTP client.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from threading import Event, Lock, Thread
from time import monotonic

from magnetar.errors import OutsideError
from magnetar.events import Emit, Remarked
from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed
from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.link.urls import host_of, shown
from magnetar.fetch.mirror.check_pieces import Proving
from magnetar.fetch.mirror.read_pieces import Allowance, Interrupted, Reading
from magnetar.fetch.mirror.schedule import Choice, Run
from magnetar.fetch.mirror.source import NoRanges, Source
from magnetar.fetch.mirror.tar import files_in_tar
from magnetar.fetch.request.mirrors import FileMirror, ReleaseMirror, named_hosts
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.protocol import Intake, Status
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.piece_digests import read_digests
from magnetar.fetch.torrent.piece_layout import read_layout

MOST_READERS = 4
MEMORY = 64 << 20
"""Bytes of pieces that are being read, or wait for their hash: half for each, and at least one piece."""
CLAIMED_AT_ONCE = 16 << 20  # bytes that a reader of a whole file keeps from the peers
LOOK_AGAIN = 0.25  # seconds, where there was nothing to do
TAKE_OVER_AFTER = 20.0  # seconds in which peers hold all that is left to take
PARTING = 0.25  # seconds for the threads to end in; they touch nothing afterwards, whenever they do


class Feed:
    """The readers of one torrent's mirrors. ``tend`` and ``close`` are for the thread that owns the transfer."""

    def __init__(self, intake: Intake, torrent: bytes, metadata: Metadata, options: FetchOptions, emit: Emit) -> None:
        self._intake = intake
        self._layout = read_layout(torrent)
        self._metadata = metadata
        self._emit = emit
        self._stop = Event()
        self._remarks: deque[str] = deque()
        policy = AddressPolicy(named_hosts(options.mirrors), only_loopback=options.loopback)
        self._client = Client(policy, proxy=options.proxy, interface=options.interface)
        self._allowance = Allowance(options.download_limit, self._stop)
        self._lock = Lock()  # over the choice
        digests = read_digests(torrent)
        self._choice = Choice(self._layout, digests)
        self._proving = Proving(intake, self._choice, digests, MEMORY // 2, self._stop, self._remarks.append)
        if len(digests) < metadata.piece_count:
            self._remarks.append(
                "a link brings no hashes of pieces of version 2: mirrors serve only files of one piece"
            )
        self._archives: deque[ReleaseMirror] = deque()
        self._readers: list[Thread] = []
        self._crash: BaseException | None = None
        self._from_peers = 0
        self._found_work = monotonic()
        self._look_at = 0.0
        for mirror in options.mirrors:
            if isinstance(mirror, FileMirror):
                self._add([mirror])
            elif mirror.is_archive:
                self._archives.append(mirror)
            else:
                self._add(mirror.files(metadata))

    def tend(self, status: Status) -> None:
        """Tell what happened, settle what was hashed, and begin once the torrent knows what it lacks."""
        if self._crash is not None:
            raise self._crash
        from_peers = status.downloaded - self._intake.received
        self._allowance.note(from_peers - self._from_peers)
        self._from_peers = from_peers
        self._proving.settle()
        self._tell()
        if status.phase == "downloading" and not self._readers:
            self._begin()

    def close(self) -> None:
        """Stop reading. Nothing is put into the torrent after this, and nothing is kept from its peers."""
        self._stop.set()
        self._client.close()
        ends = monotonic() + PARTING
        for reader in self._readers:
            reader.join(max(0.0, ends - monotonic()))
        self._proving.close()
        self._tell()
        served = [source for source in self._choice.sources if source.received]
        if served:
            hosts = ", ".join(sorted({host_of(source.mirror.url) for source in served}))
            amount = sum(source.received for source in served)
            self._emit(Remarked(f"{amount:,} bytes came from mirrors: {hosts}"))

    def summary(self) -> str:
        """What became of each mirror, in one paragraph."""
        said = [f"{source}: {source.dropped or f'{source.received:,} bytes'}" for source in self._choice.sources]
        return "; ".join(said) or "none was of use"

    def _tell(self) -> None:
        while self._remarks:
            if remark := self._remarks.popleft():
                self._emit(Remarked(remark))

    def _begin(self) -> None:
        count = max(1, min(MOST_READERS, MEMORY // 2 // self._layout.piece_length))
        self._readers = [Thread(target=self._work, name=f"mirror {number}", daemon=True) for number in range(count)]
        for reader in self._readers:
            reader.start()

    def _add(self, mirrors: Iterable[FileMirror]) -> None:
        sizes = {str(file.path): file.size for file in self._metadata.files}
        for mirror in mirrors:
            if mirror.path not in sizes:
                self._remarks.append(f"mirror {shown(mirror.url)}: the release has no file {mirror.path}")
            elif sizes[mirror.path]:
                self._choice.add(Source(mirror, sizes[mirror.path], self._client))

    def _work(self) -> None:
        """What each thread does."""
        try:
            while not self._stop.is_set():
                if self._archives:
                    self._look_into_archive()
                elif run := self._next_run():
                    self._serve(run)
                else:
                    self._stop.wait(LOOK_AGAIN)
        except BaseException as error:  # a bug: raised again by the thread that tends
            self._crash = error

    def _look_into_archive(self) -> None:
        try:
            archive = self._archives.popleft()
        except IndexError:  # another reader has it
            return
        try:
            found = files_in_tar(archive, self._metadata, self._client, self._stop.is_set)
        except (HttpFailed, NotAllowed) as error:
            self._remarks.append(f"mirror {shown(archive.url)} is asked no more: {error.message}")
            return
        with self._lock:
            self._add(found)

    def _next_run(self) -> Run | None:
        """A run of pieces, kept from the peers; None if there is nothing to do now."""
        with self._lock:
            now = monotonic()
            if self._stop.is_set() or now < self._look_at:
                return None
            stuck = now - self._found_work > TAKE_OVER_AFTER
            run = self._choice.plan(self._intake.unclaimed(even_requested=stuck))
            if run is None:
                self._look_at = now + LOOK_AGAIN
                return None
            self._found_work = now
            if not run.whole:
                self._proving.claim(range(run.first, run.last + 1))
            return run

    def _serve(self, run: Run) -> None:
        reading = Reading(self._layout, run.last, self._allowance, skip=run.whole)
        claimed = set() if run.whole else set(range(run.first, run.last + 1))
        try:
            self._read(run, reading, claimed)
        except (Interrupted, NoRanges):
            pass
        except (HttpFailed, NotAllowed) as error:
            self._note_failure(reading.source, error)
        finally:
            reading.close()
            self._proving.give_back(claimed)
            with self._lock:
                run.end()

    def _read(self, run: Run, reading: Reading, claimed: set[int]) -> None:
        for piece in range(run.first, run.last + 1):
            if run.whole and not self._claim_ahead(piece, run, claimed):
                return
            with self._lock:
                sources = self._choice.assign(piece, run)
            if sources is None:
                return
            content = reading.content(piece, sources)
            if piece in claimed and self._proving.hand_over(piece, content, self._served(piece, sources)):
                claimed.discard(piece)

    def _served(self, piece: int, sources: Mapping[str, Source]) -> Mapping[Source, int]:
        served: Counter[Source] = Counter()
        for span in self._layout.spans(piece):
            if span.path:
                served[sources[span.path]] += span.length
        return served

    def _claim_ahead(self, piece: int, run: Run, claimed: set[int]) -> bool:
        """Keep the missing ones of the next pieces from the peers. False if none is missing up to the run's end."""
        ahead = max(1, CLAIMED_AT_ONCE // self._layout.piece_length)
        if (piece - run.first) % ahead:
            return True
        with self._lock:
            lacking = [one for one in self._intake.unclaimed() if piece <= one <= run.last]
            now = [one for one in lacking if one < piece + ahead]
            self._proving.claim(now)
            claimed.update(now)
        return bool(lacking)

    def _note_failure(self, source: Source | None, error: OutsideError) -> None:
        if source is not None and not self._stop.is_set():
            self._remarks.append(source.failed(error))
