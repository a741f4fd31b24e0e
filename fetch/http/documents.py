"""Small documents that a URL or a path names, and the files beside them, each read within a limit of size."""

from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from magnetar.errors import MalformedError, TorrentError, UsageError
from magnetar.fetch.http.address_policy import AddressPolicy
from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.link.urls import host_of
from magnetar.fetch.torrent.metadata import MAX_TORRENT_BYTES
from magnetar.files import disk_failure


class Documents:
    """A document and the files beside it. ``where`` is a path or an ``http(s)`` URL, as the user typed it.

    The host that was typed may have a private address. A redirection may lead only to a public one, and never from
    https to http.
    """

    def __init__(self, where: str, *, proxy: str = "") -> None:
        self.where = where
        self.is_remote = where.startswith(("http://", "https://"))
        self.is_plain = where.startswith("http://")
        self._client: Client | None = None
        if self.is_remote:
            self._client = Client(AddressPolicy(frozenset({host_of(where)})), proxy=proxy, connections=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def name(self) -> str:
        """The last part of the document's path."""
        path = unquote(urlsplit(self.where).path) if self.is_remote else self.where
        return PurePosixPath(path).name

    def read(self, max_bytes: int) -> bytes:
        """The document. Raises ``UsageError``, ``OutsideError``, and ``MalformedError`` if it is larger than that."""
        return self._read(self.where, max_bytes)

    def read_beside(self, name: str, max_bytes: int) -> bytes | None:
        """The file ``name`` beside the document, a plain file name; None if there is none. Raises as ``read`` does."""
        if not self.is_remote:
            path = Path(self.where).with_name(name)
            return self._read(str(path), max_bytes) if path.is_file() else None
        split = urlsplit(self.where)
        folder = split.path.rpartition("/")[0]
        try:
            return self._read(split._replace(path=f"{folder}/{quote(name)}", fragment="").geturl(), max_bytes)
        except HttpFailed as error:
            if error.passing:
                raise
            return None

    def _read(self, where: str, max_bytes: int) -> bytes:
        content = self._download(self._client, where, max_bytes) if self._client else _read_file(Path(where), max_bytes)
        if len(content) > max_bytes:
            raise MalformedError(f"{where}: is larger than {max_bytes:,} bytes", hint="it cannot be what it should be")
        return content

    def _download(self, client: Client, url: str, max_bytes: int) -> bytes:
        answer = client.get(url)
        try:
            if answer.total is None or answer.total > max_bytes:
                size = "no stated size" if answer.total is None else f"{answer.total:,} bytes"
                raise MalformedError(
                    f"{url}: has {size}, and at most {max_bytes:,} are taken",
                    hint="download it yourself, and name the file",
                )
            return b"".join(answer.chunks(answer.total))
        finally:
            answer.close()


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file", hint="check the path") from error
    except OSError as error:
        raise disk_failure(error, path) from error


def download_torrent(url: str, *, proxy: str = "") -> bytes:
    """The bytes of the ``.torrent`` file at ``url``, which the user named, so its host may be a private one.

    Raises ``OutsideError`` if the server does not give it, ``TorrentError`` if it is larger than any torrent.
    """
    with Documents(url, proxy=proxy) as documents:
        try:
            return documents.read(MAX_TORRENT_BYTES)
        except MalformedError as error:
            raise TorrentError(error.message, hint=error.hint) from error
