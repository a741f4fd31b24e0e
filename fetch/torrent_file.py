"""A ``.torrent`` file that is named by its URL."""

from magnetar.errors import TorrentError
from magnetar.fetch.http import Client
from magnetar.fetch.http_addresses import AddressPolicy
from magnetar.fetch.metainfo import LARGEST_TORRENT
from magnetar.fetch.mirror import host_of


def download_torrent(url: str, *, proxy: str = "") -> bytes:
    """The bytes of the ``.torrent`` file at ``url``, which the user named, so its host may be a private one.

    Raises ``OutsideError`` if the server does not give it, ``TorrentError`` if it is larger than any torrent.
    """
    client = Client(AddressPolicy(frozenset({host_of(url)})), proxy=proxy, connections=1)
    try:
        answer = client.get(url)
        if answer.total is None or answer.total > LARGEST_TORRENT:
            raise TorrentError(
                f"{url}: has {'no stated size' if answer.total is None else f'{answer.total:,} bytes'}, and a torrent "
                f"at most {LARGEST_TORRENT:,}",
                hint="download it yourself, and name the file",
            )
        return b"".join(answer.chunks(answer.total))
    finally:
        client.close()
