"""What each of a feed's threads does: take the next run of pieces, read it, and hand its pieces over."""

from collections import Counter
from collections.abc import Mapping
from time import monotonic

from magnetar.errors import OutsideError
from magnetar.fetch.http.address_policy import NotAllowed
from magnetar.fetch.http.client import HttpFailed
from magnetar.fetch.mirror.mirror_pool import MirrorPool
from magnetar.fetch.mirror.mirror_source import MirrorSource, NoRanges, dropped_mirror
from magnetar.fetch.mirror.read_pieces import Interrupted, Reading
from magnetar.fetch.mirror.schedule import PieceRun
from magnetar.fetch.mirror.tar import files_in_tar

CLAIMED_AT_ONCE = 16 << 20
"""Bytes that a reader of a whole file keeps from the peers, ahead of where it reads."""
LOOK_AGAIN = 0.25
"""Seconds until it is asked again what is missing, where there was nothing to do."""
TAKE_OVER_AFTER = 20.0
"""Seconds without work after which pieces are taken too that peers were asked for."""


class MirrorReader:
    """The work of all threads of a feed: each of them calls ``work``."""

    def __init__(self, pool: MirrorPool) -> None:
        self._pool = pool
        self._found_work = monotonic()  # these two under the pool's lock
        self._look_at = 0.0

    def work(self) -> None:
        """Read until told to stop."""
        while not self._pool.stop.is_set():
            if self._pool.archives:
                self._search_archive()
            elif run := self._next_run():
                self._read_run(run)
            else:
                self._pool.stop.wait(LOOK_AGAIN)

    def _search_archive(self) -> None:
        pool = self._pool
        try:
            archive = pool.archives.popleft()
        except IndexError:  # another reader has taken it
            return
        try:
            found = files_in_tar(archive, pool.metadata, pool.client, pool.stop.is_set)
        except (HttpFailed, NotAllowed) as error:
            pool.news.append(dropped_mirror(archive, error.message))
            return
        with pool.lock:
            pool.add(found)

    def _next_run(self) -> PieceRun | None:
        """A run of pieces, kept from the peers; None if there is nothing to do now."""
        with self._pool.lock:
            now = monotonic()
            if self._pool.stop.is_set() or now < self._look_at:
                return None
            stuck = now - self._found_work > TAKE_OVER_AFTER
            run = self._pool.schedule.plan(self._pool.intake.unclaimed(even_requested=stuck))
            if run is None:
                self._look_at = now + LOOK_AGAIN
                return None
            self._found_work = now
            if not run.whole:
                self._pool.checked.claim(run.pieces)
            return run

    def _read_run(self, run: PieceRun) -> None:
        """Read a run as far as it goes. What is not read after all is left to the peers again."""
        reading = Reading(self._pool.layout, run.last, self._pool.rate, skip=run.whole)
        claimed = set() if run.whole else set(run.pieces)
        try:
            self._read_pieces(run, reading, claimed)
        except (Interrupted, NoRanges):
            pass
        except (HttpFailed, NotAllowed) as error:
            self._note_failure(reading.source, error)
        finally:
            reading.close()
            self._pool.checked.give_back(claimed)
            with self._pool.lock:
                self._pool.schedule.end(run)

    def _read_pieces(self, run: PieceRun, reading: Reading, claimed: set[int]) -> None:
        """Read piece after piece. Those that were handed over are taken out of ``claimed``."""
        for piece in run.pieces:
            if run.whole and not self._claim_ahead(piece, run, claimed):
                return
            with self._pool.lock:
                sources = self._pool.schedule.assign(piece, run)
            if sources is None:
                return
            content = reading.content(piece, sources)
            if piece in claimed and self._pool.checked.hand_over(piece, content, self._bytes_served(piece, sources)):
                claimed.discard(piece)

    def _bytes_served(self, piece: int, sources: Mapping[str, MirrorSource]) -> Mapping[MirrorSource, int]:
        served: Counter[MirrorSource] = Counter()
        for span in self._pool.layout.spans(piece):
            if span.path:
                served[sources[span.path]] += span.length
        return served

    def _claim_ahead(self, piece: int, run: PieceRun, claimed: set[int]) -> bool:
        """Keep the missing ones of the next pieces from the peers. False if none is missing up to the run's end."""
        ahead = max(1, CLAIMED_AT_ONCE // self._pool.layout.piece_length)
        if (piece - run.first) % ahead:
            return True
        with self._pool.lock:
            missing = [index for index in self._pool.intake.unclaimed() if piece <= index <= run.last]
            next_ones = [index for index in missing if index < piece + ahead]
            self._pool.checked.claim(next_ones)
            claimed.update(next_ones)
        return bool(missing)

    def _note_failure(self, source: MirrorSource | None, error: OutsideError) -> None:
        if source is not None and not self._pool.stop.is_set() and (news := source.failed(error)):
            self._pool.news.append(news)
