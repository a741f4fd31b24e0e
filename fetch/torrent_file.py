"""A ``.torrent`` file that is named by its URL."""

from magnetar.errors import MalformedError, TorrentError
from magnetar.fetch.documents import Documents
from magnetar.fetch.metainfo import LARGEST_TORRENT


def download_torrent(url: str, *, proxy: str = "") -> bytes:
    """The bytes of the ``.torrent`` file at ``url``, which the user named, so its host may be a private one.

    Raises ``OutsideError`` if the server does not give it, ``TorrentError`` if it is larger than any torrent.
    """
    with Documents(url, proxy=proxy) as documents:
        try:
            return documents.read(LARGEST_TORRENT)
        except MalformedError as error:
            raise TorrentError(error.message, hint=error.hint) from error
