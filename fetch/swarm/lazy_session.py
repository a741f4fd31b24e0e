"""A session that begins only when somebody has to be asked."""

from contextlib import ExitStack
from dataclasses import replace

from magnetar.events import Emit, Remarked
from magnetar.fetch.request.options import FetchOptions, what_others_see
from magnetar.fetch.swarm.libtorrent_session import open_swarm
from magnetar.fetch.swarm.protocol import Swarm


class LazySwarm:
    """One session for a whole run, closed with ``stack``; none at all if nothing has to be asked of others."""

    def __init__(self, stack: ExitStack, options: FetchOptions, emit: Emit) -> None:
        self._stack = stack
        self._options = options
        self._emit = emit
        self._swarm: Swarm | None = None

    def open(self) -> Swarm:
        """The session, begun at the first call. Raises ``OutsideError`` if it cannot listen as asked."""
        if self._swarm is None:
            for note in what_others_see(self._options):
                self._emit(Remarked(note))
            network = replace(self._options.network, upload=self._options.upload)
            self._swarm = self._stack.enter_context(open_swarm(network))
        return self._swarm
