"""Where the processes of one boot meet: a store of values that all can see, and a pulse that shows who is alive.

Whoever waits for a value looks whether somebody failed, or has not been heard of, so that nobody waits for a process
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

PULSE, SILENCE = 1.0, 30.0
"""Every process says so often, in seconds, that it lives, and counts as gone when it was silent for so long."""

NAP = 0.002
HINT = "look at what it wrote; then start all of them again"


class Store(Protocol):
    """What is used of ``torch.distributed.Store``. Its methods raise ``RuntimeError`` where it cannot be reached."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def check(self, keys: list[str]) -> bool: ...


class Meeting:
    """One process's place at the store. To be closed."""

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._ended = threading.Event()
        self._pulse = threading.Thread(target=self._live, name="pulse", daemon=True)
        self._pulse.start()

    def post(self, key: str, value: Any = None) -> None:
        """Let the others see a plain value. Raises ``RankLost`` if the store is gone."""
        try:
            self._store.set(key, json.dumps(value))
        except RuntimeError as error:
            raise self._lose_store() from error

    def fetch(self, key: str, *, despite_failure: bool = False) -> Any:
        """The value that another posts, as soon as it does. Raises what another failed with, or ``RankLost``."""
        heard = Heard(self._store, [rank for rank in range(self.size) if rank != self.rank])
        try:
            while not self._appears([key], PULSE):
                if not despite_failure:
                    self._find_failure()
                heard.find_silent()
            return json.loads(self._store.get(key))
        except RuntimeError as error:
            raise self._lose_store() from error

    def fail(self, error: MagnetarError | None) -> None:
        """Say that this process cannot go on, so that the others stop waiting; the first to say so is believed."""
        told = ("RankLost", "ended", HINT) if error is None else (type(error).__name__, error.message, error.hint)
        with suppress(RuntimeError):
            if not self._store.check(["failed"]):
                self._store.set("failed", json.dumps([self.rank, *told]))

    def linger(self, keys: Iterable[str], seconds: float) -> None:
        """Wait until the others have posted all of ``keys``, but no longer than ``seconds``."""
        with suppress(RuntimeError):
            self._appears(list(keys), seconds)

    def close(self) -> None:
        """Give no more signs of life."""
        self._ended.set()
        self._pulse.join()

    def _appears(self, keys: list[str], seconds: float) -> bool:
        return poll(lambda: self._store.check(keys), seconds)

    def _live(self) -> None:
        beat = 0
        with suppress(RuntimeError):  # the store is gone, as whoever waits will see
            while True:
                self._store.set(f"alive/{self.rank}", json.dumps(beat := beat + 1))
                if self._ended.wait(PULSE):
                    return

    def _find_failure(self) -> None:
        if self._store.check(["failed"]):
            rank, kind, message, hint = json.loads(self._store.get("failed"))
            raise name_failure(kind)(f"rank {rank}: {message}", hint=hint)

    def _lose_store(self) -> RankLost:
        return RankLost(f"rank {self.rank}: the place where the processes meet cannot be reached", hint=HINT)


class Heard:
    """When others gave their last sign of life, as far as was seen here."""

    def __init__(self, store: Store, ranks: Iterable[int]) -> None:
        now = time.monotonic()
        self._store, self._last = store, dict.fromkeys(ranks, (b"", now))

    def find_silent(self) -> None:
        """Raises ``RankLost`` for one that has been silent for too long."""
        now = time.monotonic()
        for rank, (beat, since) in self._last.items():
            key = f"alive/{rank}"
            latest = self._store.get(key) if self._store.check([key]) else b""
            if latest != beat:
                self._last[rank] = latest, now
            elif now - since > SILENCE:
                raise RankLost(f"rank {rank} has not been heard of for {SILENCE:.0f} seconds", hint=HINT)


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(NAP)
    return True


def name_failure(kind: str) -> type[MagnetarError]:
    """The class of an error of another process, so that all end with the same code."""
    found = getattr(errors, kind, None)
    return found if isinstance(found, type) and issubclass(found, MagnetarError) else RankLost
