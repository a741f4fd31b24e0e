"""A download that mirrors feed, if there are any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from magnetar.errors import Stalled
from magnetar.events import Emit
from magnetar.fetch.request.mirrors import mirrors_of_web_seeds
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.protocol import Intake, Status
from magnetar.fetch.torrent.known_torrent import KnownTorrent


@contextmanager
def fed_by_mirrors(
    intake: Intake, torrent: KnownTorrent, options: FetchOptions, emit: Emit
) -> Iterator[Callable[[Status], None]]:
    """Feed a torrent from ``options.mirrors`` for as long as the block lasts, and from its own web seeds where
    libtorrent cannot.

    Yields a function that is to be called again and again with the transfer's status; it emits what happened. A mirror
    that fails is waited for or dropped, and never ends a download.
    """
    options = replace(options, mirrors=(*options.mirrors, *mirrors_of_web_seeds(torrent.metadata)))
    if not options.mirrors:
        yield _ignore
        return
    from magnetar.fetch.mirror.feed import MirrorFeed  # it brings the HTTP client

    feed = MirrorFeed.open(intake, torrent, options, emit)
    try:
        yield feed.tend
    except Stalled as error:
        raise Stalled(
            f"{error.message}; mirrors: {feed.summary()}",
            hint=error.hint,
            waited=error.waited,
            missing=error.missing,
            total=error.total,
        ) from error
    finally:
        feed.close()


def _ignore(_status: Status) -> None:
    """Do nothing: there are no mirrors to tend."""
