"""What TARGET means: a release of the catalog, a magnet link, an infohash, a .torrent file or its URL."""

from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import UsageError
from magnetar.fetch.link.magnet import Magnet, looks_like_magnet, parse_magnet
from magnetar.fetch.torrent.metainfo import load_torrent, read_torrent
from magnetar.files import is_path_of
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.schema import Manifest


@dataclass(frozen=True, slots=True)
class Wanted:
    """What TARGET means: where to get it, and the release of the catalog that it is, if it is one."""

    source: Magnet | Path | bytes
    manifest: Manifest | None


def identify_target(text: str, *, proxy: str = "") -> Wanted:
    """What the user named: a release of the catalog, a .torrent file or its URL, a magnet link, or an infohash.

    Raises ``UsageError`` for a name that nothing has, ``MagnetError`` for a link beyond healing, ``OutsideError``
    for a URL that does not answer. ``proxy`` is that of the environment unless one is given.
    """
    path = Path(text)
    if text.lower() in catalog():
        return _from_catalog(find_release(text))
    if is_path_of(text, Path.is_file):
        return _from_torrent(path)
    if text.startswith(("http://", "https://")):
        from magnetar.fetch.http.documents import download_torrent

        return _from_torrent(download_torrent(text, proxy=proxy))
    if path.suffix == ".torrent":
        raise UsageError(f"{path}: there is no such file", hint="check the path")
    if not looks_like_magnet(text):
        return _from_catalog(find_release(text))
    magnet = parse_magnet(text)
    return Wanted(magnet, find_by_infohash(magnet.infohash_v1, magnet.infohash_v2))


def _from_torrent(source: Path | bytes) -> Wanted:
    metadata = read_torrent(source) if isinstance(source, bytes) else load_torrent(source)
    return Wanted(source, find_by_infohash(metadata.infohash_v1, metadata.infohash_v2))


def _from_catalog(manifest: Manifest) -> Wanted:
    if manifest.magnet is None:
        raise UsageError(f"{manifest.name}: the catalog knows no magnet link for it", hint="give a link or a .torrent")
    return Wanted(parse_magnet(manifest.magnet), manifest)
