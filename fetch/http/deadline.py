"""An end for a whole request. The timeouts of a socket do not give one: a server may send a byte now and then."""

import socket
from contextlib import suppress
from contextvars import ContextVar, Token
from threading import Lock, Timer
from typing import Self


class Deadline:
    """While it is entered, a clock runs; after ``seconds``, the sockets that this thread's request uses are shut down.

    A read that waits in one of them then ends as if the other side had closed the connection, so the caller looks at
    ``has_passed`` to tell the two apart.
    """

    def __init__(self, seconds: float) -> None:
        self.has_passed = False
        self._sockets: list[socket.socket] = []
        self._lock = Lock()
        self._timer = Timer(seconds, self._pass)
        self._timer.daemon = True
        self._token: Token[Deadline | None] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()
        if self._token is not None:
            _current.reset(self._token)

    def watch(self, connected: socket.socket) -> None:
        """Shut this socket down when the time is over; at once if it is."""
        with self._lock:
            self._sockets.append(connected)
            passed = self.has_passed
        if passed:
            _shut_down(connected)

    def _pass(self) -> None:
        with self._lock:
            self.has_passed = True
            sockets = list(self._sockets)
        for connected in sockets:
            _shut_down(connected)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def watch_socket(connected: socket.socket) -> None:
    """Put a socket under the deadline of the request that this thread is sending, if it has one."""
    deadline = _current.get()
    if deadline is not None:
        deadline.watch(connected)


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # it may be closed already, or have handed its connection to a TLS socket
        connected.shutdown(socket.SHUT_RDWR)
