"""The place where the processes of one boot meet: a store of values that all can see, and heartbeats.

A process that waits for a value also looks whether another process failed, or is silent. So no process waits for one
that is gone, and a signal is answered at once. Values are JSON; nothing is pickled.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from magnetar import errors
from magnetar.errors import MagnetarError, RankLost

HEARTBEAT_SECONDS, MAX_SILENCE_SECONDS = 1.0, 30.0
"""Seconds between two heartbeats of a process, and how long it may be silent before it counts as gone."""

POLL_SECONDS = 0.002
"""Seconds between two looks at the store."""

HINT = "look at what it wrote; then start all of them again"


class Store(Protocol):
    """The part of ``torch.distributed.Store`` that is used. It raises ``RuntimeError`` where it cannot be reached."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...


class Rendezvous:
    """One process's access to the store, with its heartbeats. It has to be closed."""

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True)
        self._heart.start()

    def post(self, key: str, value: Any = None) -> None:
        """Show a plain value to the others. Raises ``RankLost`` if the store is gone."""
        try:
            self._store.set(key, json.dumps(value))
        except RuntimeError as error:
            raise self._lose_store() from error

    def fetch(self, key: str, *, despite_failure: bool = False) -> Any:
        """Wait for a value that another process posts. Raises the error that ended another process, or ``RankLost``."""
        heartbeats = Heartbeats(self._store, [rank for rank in range(self.size) if rank != self.rank])
        try:
            while not self._await_keys([key], HEARTBEAT_SECONDS):
                if not despite_failure:
                    self._raise_failure()
                heartbeats.find_silent()
            return json.loads(self._store.get(key))
        except RuntimeError as error:
            raise self._lose_store() from error

    def fail(self, error: MagnetarError | None) -> None:
        """Report that this process cannot go on, so that the others stop waiting. The first report counts."""
        failure = ("RankLost", "ended", HINT) if error is None else (type(error).__name__, error.message, error.hint)
        with suppress(RuntimeError):
            if not self._store.check(["failed"]):
                self._store.set("failed", json.dumps([self.rank, *failure]))

    def linger(self, keys: Iterable[str], seconds: float) -> None:
        """Wait until the others have posted all of ``keys``, but no longer than ``seconds``."""
        with suppress(RuntimeError):
            self._await_keys(list(keys), seconds)

    def close(self) -> None:
        """Send no more heartbeats."""
        self._ended.set()
        self._heart.join()

    def _await_keys(self, keys: list[str], seconds: float) -> bool:
        return poll(lambda: self._store.check(keys), seconds)

    def _send_heartbeats(self) -> None:
        beat = 0
        with suppress(RuntimeError):  # the store is gone, which whoever waits will notice
            while True:
                self._store.set(f"alive/{self.rank}", json.dumps(beat := beat + 1))
                if self._ended.wait(HEARTBEAT_SECONDS):
                    return

    def _raise_failure(self) -> None:
        if self._store.check(["failed"]):
            rank, kind, message, hint = json.loads(self._store.get("failed"))
            failure = error_class(kind)(f"rank {rank}: {message}", hint=hint)
            if isinstance(failure, RankLost):
                failure.rank = rank
            raise failure

    def _lose_store(self) -> RankLost:
        return RankLost(
            f"rank {self.rank}: the place where the processes meet cannot be reached", hint=HINT, rank=self.rank
        )


class Heartbeats:
    """The last heartbeat of each other process, and when this process saw it."""

    def __init__(self, store: Store, ranks: Iterable[int]) -> None:
        now = time.monotonic()
        self._store, self._last = store, dict.fromkeys(ranks, (b"", now))

    def find_silent(self) -> None:
        """Raises ``RankLost`` for a process that has been silent for too long."""
        now = time.monotonic()
        for rank, (beat, since) in self._last.items():
            key = f"alive/{rank}"
            latest = self._store.get(key) if self._store.check([key]) else b""
            if latest != beat:
                self._last[rank] = latest, now
            elif now - since > MAX_SILENCE_SECONDS:
                raise RankLost(
                    f"rank {rank} has not been heard of for {MAX_SILENCE_SECONDS:.0f} seconds", hint=HINT, rank=rank
                )


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition`` holds. Returns whether it did within ``seconds``."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def error_class(kind: str) -> type[MagnetarError]:
    """The class of the error of another process, by its name, so that all end with the same exit code."""
    found = getattr(errors, kind, None)
    return found if isinstance(found, type) and issubclass(found, MagnetarError) else RankLost
