"""A download that mirrors feed, if there are any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from magnetar.errors import Stalled
from magnetar.events import Emit
from magnetar.fetch.request.mirrors import mirrors_of_web_seeds
from magnetar.fetch.request.options import FetchOptions
from magnetar.fetch.swarm.protocol import Intake, Status
from magnetar.fetch.torrent.metadata import Metadata


@contextmanager
def fed_by_mirrors(
    intake: Intake, torrent: bytes, metadata: Metadata, options: FetchOptions, emit: Emit
) -> Iterator[Callable[[Status], None]]:
    """Feed a torrent (``.torrent`` bytes) from ``options.mirrors`` for as long as the block lasts, and from its own web
    seeds where libtorrent cannot.

    What it yields is to be called again and again with the transfer's status; it tells what happened. A mirror that
    fails is waited for or dropped, and never ends a download.
    """
    options = replace(options, mirrors=(*options.mirrors, *mirrors_of_web_seeds(metadata)))
    if not options.mirrors:
        yield _ignore
    else:
        from magnetar.fetch.mirror.feed import Feed

        feed = Feed(intake, torrent, metadata, options, emit)
        try:
            yield feed.tend
        except Stalled as error:
            raise Stalled(f"{error.message}; mirrors: {feed.summary()}", hint=error.hint) from error
        finally:
            feed.close()


def _ignore(_status: Status) -> None:
    """There is nothing to tend."""
